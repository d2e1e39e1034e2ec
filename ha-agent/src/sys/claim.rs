//! At most one agent an interface, however each receives: a socket in the network namespace, whose name has the interface's
//! number, and which goes with its process.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket, sockopt::PeerCredentials,
};
use nix::unistd::geteuid;
use tokio::task::JoinHandle;

/// An interface is this agent's, for as long as this lives.
#[derive(Debug)]
pub struct Claim {
    /// Has the name; `None` if another one has it who is no agent.
    holding: Option<JoinHandle<()>>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

impl Claim {
    /// Claims the interface with this number. Must be called on a tokio runtime with I/O.
    ///
    /// # Errors
    ///
    /// The process of another agent that has it.
    pub fn take(ifindex: u32) -> Result<Self, Process> {
        match hold(ifindex) {
            Ok(holding) => Ok(Self { holding: Some(holding) }),
            Err(error) => {
                if let Some(process) = holder(ifindex) {
                    return Err(process);
                }
                let remedy = "look at who has its name: `ss -xlp`";
                tracing::warn!(
                    ifindex,
                    "the interface can't be claimed ({error}), and other agents may not see this one; {remedy}"
                );
                Ok(Self { holding: None })
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.holding.iter().for_each(JoinHandle::abort);
    }
}

/// The process of the agent that has claimed an interface, if one has. Never waits.
#[must_use]
pub fn holder(ifindex: u32) -> Option<Process> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let asked = socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
    let address = UnixAddr::new_abstract(name(ifindex).as_bytes()).ok()?;
    connect(asked.as_raw_fd(), &address).ok()?;
    let credentials = getsockopt(&asked, PeerCredentials).ok()?;
    // Everybody may take the name; only whoever may do what an agent does keeps one from running.
    let trusted = credentials.uid() == 0 || credentials.uid() == geteuid().as_raw();
    trusted.then(|| Process::of(credentials.pid().unsigned_abs()))
}

impl Process {
    /// The process with this number.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Self { pid, name: name.trim().to_owned() }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.name)
    }
}

/// Takes the name, and lets go of whoever asks who has it.
fn hold(ifindex: u32) -> io::Result<JoinHandle<()>> {
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name(ifindex))?)?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    Ok(tokio::spawn(async move { while listener.accept().await.is_ok() {} }))
}

/// In the abstract name space, which is the network namespace's own.
fn name(ifindex: u32) -> String {
    format!("ha-agent/interface/{ifindex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_interface_is_claimed_once() {
        // No interface has this number.
        let ifindex = u32::MAX - std::process::id();
        assert_eq!(holder(ifindex), None);
        let claim = Claim::take(ifindex).expect("it is free");
        let own = Process::of(std::process::id());
        assert_eq!(Claim::take(ifindex).expect_err("it is taken"), own);
        assert_eq!(holder(ifindex), Some(own));
        drop(claim);
        // Its task ends when the runtime comes to it.
        tokio::task::yield_now().await;
        assert!(Claim::take(ifindex).is_ok());
    }
}
