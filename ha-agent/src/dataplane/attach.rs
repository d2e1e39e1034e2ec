//! Attaching to an interface, and who is there already.

use std::fmt;
use std::fs;
use std::path::Path;

use aya::programs::links::FdLink;
use aya::programs::tc::{NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions};
use aya::programs::xdp::{XdpLink, XdpLinkId};
use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode, loaded_programs, tc,
};

use super::error::errno;
use super::{AttachError, Attachment, PROGRAM, PROGRAM_TC};
use crate::sys::claim::Process;

/// An attachment that ends with this process.
#[derive(Debug)]
pub(super) enum Link {
    Xdp(XdpLinkId),
    Tc(SchedClassifierLinkId),
}

/// An interface to attach to.
#[derive(Clone, Copy, Debug)]
pub struct Interface<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its number.
    pub index: u32,
    /// The number of the XDP program that it runs already, where netlink showed one: it serves to name its owner, and to
    /// find out whether it is what an earlier agent has left.
    pub occupant: Option<u32>,
}

/// Whose program an interface runs already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The program's number, as `bpftool prog show id` takes it.
    pub program: u32,
    /// The program's name, where it may be read (`CAP_SYS_ADMIN`).
    pub name: Option<String>,
    /// A process that holds the program's link, where it can be seen.
    pub process: Option<Process>,
}

impl Owner {
    /// Finds out whose a program is.
    #[must_use]
    pub fn of(program: u32) -> Self {
        let name = loaded_programs()
            .flatten()
            .find(|info| info.id() == program)
            .and_then(|info| info.name_as_str().map(str::to_owned));
        Self { program, name, process: holder_of(program) }
    }

    /// Whether it is another agent.
    #[must_use]
    pub fn is_agent(&self) -> bool {
        self.name.as_deref().is_some_and(|name| [PROGRAM, PROGRAM_TC].contains(&name))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} (program {})", self.program)?,
            None => write!(f, "program {0}; `bpftool prog show id {0}` shows whose it is", self.program)?,
        }
        match &self.process {
            Some(process) => write!(f, " of {process}"),
            None => Ok(()),
        }
    }
}

/// Attaches the XDP program.
pub(super) fn xdp(program: &mut Xdp, on: Interface<'_>, mode: XdpMode) -> Result<Link, AttachError> {
    let link = program.attach_to_if_index(on.index, mode);
    link.map(Link::Xdp).map_err(|error| refused(error, on))
}

/// Attaches the other one as a `tcx` program (since 6.6), before all that are there. It may be pinned.
pub(super) fn tcx(program: &mut SchedClassifier, on: Interface<'_>) -> Result<Link, AttachError> {
    let first = TcAttachOptions::TcxOrder(LinkOrder::first());
    let link = program.attach_with_options(on.name, TcAttachType::Ingress, first);
    link.map(Link::Tc).map_err(|error| refused(error, on))
}

/// Attaches the one that sees frames leave as a `tcx` program (since 6.6), after all that are there: what they hold back has not
/// left.
pub(super) fn egress(program: &mut SchedClassifier, on: Interface<'_>) -> Result<Link, AttachError> {
    let last = TcAttachOptions::TcxOrder(LinkOrder::last());
    let link = program.attach_with_options(on.name, TcAttachType::Egress, last);
    link.map(Link::Tc).map_err(|error| refused(error, on))
}

/// Attaches the other one as a filter of the queueing discipline `clsact`, before all that are there, as kernels before 6.6
/// have it. It can't be pinned: see [`remove_filter`].
pub(super) fn filter(program: &mut SchedClassifier, on: Interface<'_>) -> Result<Link, AttachError> {
    match tc::qdisc_add_clsact(on.name) {
        Err(error) if errno(&error) != Some(libc::EEXIST) => {
            return Err(refused(ProgramError::TcError(error), on));
        }
        Ok(()) | Err(_) => {}
    }
    let options = TcAttachOptions::Netlink(NlOptions::default());
    let link = program.attach_with_options(on.name, TcAttachType::Ingress, options);
    link.map(Link::Tc).map_err(|error| refused(error, on))
}

/// Removes the filter that an agent has left which was killed, by its name: else it would keep this node quiet for ever.
pub(super) fn remove_filter(interface: &str) {
    match tc::qdisc_detach_program(interface, TcAttachType::Ingress, PROGRAM_TC) {
        Ok(()) => tracing::info!(interface, "a filter was left of an earlier agent: removed"),
        // There is none, in most cases not even what it would belong to.
        Err(error) => tracing::debug!(interface, %error, "no filter was left"),
    }
}

/// Puts the XDP program in the place of another one, in one step.
pub(super) fn replace_xdp(program: &mut Xdp, interface: &str, link: FdLink) -> Result<Link, AttachError> {
    let kernel = |cause| AttachError::Kernel { interface: interface.to_owned(), cause };
    let link = XdpLink::try_from(link).map_err(|error| kernel(Box::new(error)))?;
    program.attach_to_link(link).map(Link::Xdp).map_err(|error| kernel(Box::new(error)))
}

/// The same for the other one.
pub(super) fn replace_tcx(
    program: &mut SchedClassifier,
    interface: &str,
    link: FdLink,
) -> Result<Link, AttachError> {
    let kernel = |cause| AttachError::Kernel { interface: interface.to_owned(), cause };
    let link = SchedClassifierLink::try_from(link).map_err(|error| kernel(Box::new(error)))?;
    program.attach_to_link(link).map(Link::Tc).map_err(|error| kernel(Box::new(error)))
}

/// Has an attachment outlive this process.
pub(super) fn pin(link: FdLink, interface: &str, path: &Path) -> Result<Attachment, AttachError> {
    // What was there before has its pin already.
    let link = if path.exists() { Ok(link) } else { link.pin(path).map(FdLink::from) };
    let link = link
        .map_err(|error| AttachError::Kernel { interface: interface.to_owned(), cause: Box::new(error) })?;
    Ok(Attachment::Pinned { link, path: path.to_owned() })
}

/// Whether traffic control runs a program on an interface, where that can be seen.
#[must_use]
pub fn runs(interface: &str, program: u32) -> bool {
    let found = SchedClassifier::query_tcx(interface, TcAttachType::Ingress);
    found.is_ok_and(|(_, programs)| programs.iter().any(|found| found.id() == program))
}

/// Another agent's program among those that traffic control runs, where that can be seen and is not what was left for this
/// one, as one of the programs `ours`.
pub(super) fn other_agent(on: Interface<'_>, ours: &[u32]) -> Option<Owner> {
    let (_, programs) = SchedClassifier::query_tcx(on.name, TcAttachType::Ingress).ok()?;
    let others = programs.iter().filter(|program| program.name_as_str() == Some(PROGRAM_TC));
    others.map(aya::programs::ProgramInfo::id).find(|id| !ours.contains(id)).map(Owner::of)
}

fn refused(error: ProgramError, on: Interface<'_>) -> AttachError {
    let interface = on.name.to_owned();
    match errno(&error) {
        Some(libc::EBUSY | libc::EEXIST) => match on.occupant.map(Owner::of) {
            Some(owner) if owner.is_agent() => AttachError::SecondAgent { interface, owner },
            owner => AttachError::Foreign { interface, owner },
        },
        Some(libc::ENODEV) => AttachError::NoInterface { interface },
        Some(libc::EPERM | libc::EACCES) => AttachError::NoPermission { interface },
        _ if is_unsupported(&error) => AttachError::Unsupported { interface, cause: Box::new(error) },
        _ => AttachError::Kernel { interface, cause: Box::new(error) },
    }
}

/// The driver has no native mode, or not for this interface as it is set up; or the kernel no such attachment.
fn is_unsupported(error: &ProgramError) -> bool {
    matches!(
        errno(error),
        Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS | libc::ERANGE | libc::E2BIG | libc::ENOMEM)
    )
}

/// A process that holds a link of the program, if `/proc` shows one.
fn holder_of(program: u32) -> Option<Process> {
    let wanted = format!("prog_id:\t{program}\n");
    let processes = fs::read_dir("/proc").ok()?;
    let mut pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find_map(|pid| {
        let infos = fs::read_dir(format!("/proc/{pid}/fdinfo")).ok()?;
        let mut infos = infos.flatten().filter_map(|info| fs::read_to_string(info.path()).ok());
        infos.find(|info| info.contains("link_type") && info.contains(&wanted))?;
        Some(Process::of(pid))
    })
}
