//! The program that sees the agent's process end, and has the lease end with it.

use aya::Ebpf;
use aya::programs::RawTracePoint;
use aya::programs::links::FdLink;

use super::{LoadError, Pins};

/// Has the kernel watch, until another agent's program does. It must outlive this process to be of any use.
///
/// # Errors
///
/// If the kernel does not offer it: raw tracepoints since 4.17, pinned since 5.7.
pub(super) fn watch(bpf: &mut Ebpf, pins: &Pins) -> Result<(), LoadError> {
    let program = bpf.program_mut(EXIT).ok_or(LoadError::Missing(EXIT))?;
    let program: &mut RawTracePoint = program.try_into().map_err(LoadError::from_program)?;
    program.load().map_err(LoadError::from_program)?;
    let link = program.attach(EVENT).map_err(LoadError::from_program)?;
    let link = FdLink::from(program.take_link(link).map_err(LoadError::from_program)?);
    pins.put(EXIT, link).map_err(LoadError::from_pin)
}

/// Its name, and that of its pin.
pub const EXIT: &str = "ha_exit";
const EVENT: &str = "sched_process_exit";
