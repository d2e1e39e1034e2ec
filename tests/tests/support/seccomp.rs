//! System calls that fail.

use std::collections::BTreeMap;

use anyhow::Result;
use nix::errno::Errno;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule};

/// Lets a system call fail for this thread and for whatever it starts: where a rule says so, or always.
pub(crate) fn refuse(call: i64, rules: Vec<SeccompRule>, errno: Errno) -> Result<()> {
    let filter = SeccompFilter::new(
        BTreeMap::from([(call, rules)]),
        SeccompAction::Allow,
        SeccompAction::Errno(errno as u32),
        std::env::consts::ARCH.try_into()?,
    )?;
    let filter: BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter(&filter)?)
}
