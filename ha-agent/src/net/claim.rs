//! Which agent serves an interface. Each one says so by a socket in the interface's network namespace, which ends with its
//! process: to find that out by the kernel's programs takes rights that an agent need not have.

use std::io;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use nix::sys::socket::{getsockopt, sockopt};
use rustix::process::getuid;
use tokio::task::JoinHandle;

/// An interface that is served by this process, for as long as this lives.
#[derive(Debug)]
pub struct Claim {
    /// Nobody's, where a stranger has the name.
    answers: Option<JoinHandle<()>>,
}

/// Another agent's process: its number, or 0 where that can't be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimant(pub u32);

impl Claim {
    /// Says that this process serves an interface. Must be called on a tokio runtime with I/O.
    ///
    /// Only root's and this user's processes are believed: others could claim what they can't serve.
    ///
    /// # Errors
    ///
    /// The other agent that does.
    pub fn take(ifindex: u32) -> Result<Self, Claimant> {
        let listener = name(ifindex).and_then(|name| UnixListener::bind_addr(&name)).and_then(|listener| {
            listener.set_nonblocking(true)?;
            tokio::net::UnixListener::from_std(listener)
        });
        let error = match listener {
            // Whoever asks has seen by then whose it is.
            Ok(listener) => {
                let answers = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
                return Ok(Self { answers: Some(answers) });
            }
            Err(error) => error,
        };
        if let Some(claimant) = Self::held(ifindex) {
            return Err(claimant);
        }
        tracing::warn!(ifindex, "a second agent would not know that this one serves here: {error}");
        Ok(Self { answers: None })
    }

    /// The agent that serves an interface, if one does.
    #[must_use]
    pub fn held(ifindex: u32) -> Option<Claimant> {
        let stream = UnixStream::connect_addr(&name(ifindex).ok()?).ok()?;
        let peer = getsockopt(&stream.as_fd(), sockopt::PeerCredentials).ok()?;
        let is_believed = [0, getuid().as_raw()].contains(&peer.uid());
        is_believed.then(|| Claimant(u32::try_from(peer.pid()).unwrap_or(0)))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(answers) = &self.answers {
            answers.abort();
        }
    }
}

/// In the abstract namespace, which each network namespace has one of (unix(7)).
fn name(ifindex: u32) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("ha-agent/{ifindex}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_process_serves_an_interface() {
        // No interface has such a number.
        let ifindex = u32::MAX - std::process::id();
        assert_eq!(Claim::held(ifindex), None);
        let claim = Claim::take(ifindex).expect("nobody else's");
        let us = Claimant(std::process::id());
        // However often one asks.
        for _ in 0..300 {
            assert_eq!(Claim::held(ifindex), Some(us));
            tokio::task::yield_now().await;
        }
        assert_eq!(Claim::take(ifindex).expect_err("taken"), us);
        drop(claim);
        while Claim::held(ifindex).is_some() {
            tokio::task::yield_now().await;
        }
        Claim::take(ifindex).expect("free again");
    }
}
