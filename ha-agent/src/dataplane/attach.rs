//! Attaching to an interface, and who is there already.

use std::fmt;
use std::fs;
use std::path::Path;

use aya::programs::links::FdLink;
use aya::programs::xdp::{XdpLink, XdpLinkId};
use aya::programs::{ProgramError, Xdp, XdpMode, loaded_programs};

use super::error::errno;
use super::{AttachError, Attachment, PROGRAM};
use crate::net::place::Stage;

/// Where an interface runs the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the kernel's generic path, after the frame was copied into a socket buffer.
    Generic,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
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

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
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
        self.name.as_deref() == Some(PROGRAM)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} (program {})", self.program)?,
            None => write!(f, "program {0}; `bpftool prog show id {0}` shows whose it is", self.program)?,
        }
        match &self.process {
            Some(process) => write!(f, " of process {} ({})", process.pid, process.name),
            None => Ok(()),
        }
    }
}

pub(super) fn attach(
    xdp: &mut Xdp,
    interface: &str,
    ifindex: u32,
    occupant: Option<u32>,
    stage: Stage,
) -> Result<(Mode, XdpLinkId), AttachError> {
    let refused = |error: ProgramError| refused(error, interface, occupant);
    match stage {
        Stage::Generic => {}
        Stage::Any => match xdp.attach_to_if_index(ifindex, XdpMode::Driver) {
            Ok(link) => return Ok((Mode::Native, link)),
            Err(error) if !is_unsupported(&error) => return Err(refused(error)),
            Err(error) => tracing::debug!(interface, %error, "the driver takes no program"),
        },
    }
    let link = xdp.attach_to_if_index(ifindex, XdpMode::Skb).map_err(refused)?;
    Ok((Mode::Generic, link))
}

/// Puts the program in the place of another one, in one step.
pub(super) fn replace(xdp: &mut Xdp, interface: &str, link: FdLink) -> Result<XdpLinkId, AttachError> {
    let kernel = |cause| AttachError::Kernel { interface: interface.to_owned(), cause };
    let link = XdpLink::try_from(link).map_err(|error| kernel(Box::new(error)))?;
    xdp.attach_to_link(link).map_err(|error| kernel(Box::new(error)))
}

/// Has an attachment outlive this process.
pub(super) fn pin(
    xdp: &mut Xdp,
    interface: &str,
    link: XdpLinkId,
    path: &Path,
) -> Result<Attachment, AttachError> {
    let kernel = |cause| AttachError::Kernel { interface: interface.to_owned(), cause };
    let link = xdp.take_link(link).map_err(|error| kernel(Box::new(error)))?;
    let link = FdLink::try_from(link).map_err(|error| kernel(Box::new(error)))?;
    // What was there before has its pin already.
    let link = if path.exists() { Ok(link) } else { link.pin(path).map(FdLink::from) };
    let link = link.map_err(|error| kernel(Box::new(error)))?;
    Ok(Attachment::Pinned { link, path: path.to_owned() })
}

fn refused(error: ProgramError, interface: &str, occupant: Option<u32>) -> AttachError {
    let interface = interface.to_owned();
    match errno(&error) {
        Some(libc::EBUSY | libc::EEXIST) => match occupant.map(Owner::of) {
            Some(owner) if owner.is_agent() => AttachError::SecondAgent { interface, owner },
            owner => AttachError::Foreign { interface, owner },
        },
        Some(libc::ENODEV) => AttachError::NoInterface { interface },
        Some(libc::EPERM | libc::EACCES) => AttachError::NoPermission { interface },
        _ => AttachError::Kernel { interface, cause: Box::new(error) },
    }
}

/// The driver has no native mode, or not for this interface as it is set up.
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
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some(Process { pid, name: name.trim().to_owned() })
    })
}
