//! Pairing with sockets and files: what `ha-agent pair` does.
//!
//! Nothing is written before both sides have shown that they know the code, and what is written then is one file that
//! was not there: whoever interrupts it finds everything as it was, or done.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};

use super::code::Code;
use super::{PairError, host, join};
use crate::cli::exit::Exit;
use crate::peer::identity::{Certificate, Identity, IdentityError, NodeId};
use crate::peer::store::{Lock, Part, Store, StoreError};

/// A node that is ready to be paired; no other `ha-agent pair` works on its files meanwhile.
#[derive(Debug)]
pub struct Ready {
    store: Store,
    lock: Lock,
    own: Identity,
    is_new: bool,
}

/// Why a node was not paired. Displayed, it is one line with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// Its files.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its key.
    #[error("the key of this node {0}; try again")]
    Identity(#[from] IdentityError),
    /// It is paired.
    #[error(
        "this node is paired with {0}; add --replace to pair it with another, or see `ha-agent pair show`"
    )]
    Paired(String),
    /// It is not paired.
    #[error(
        "this node is not paired; run `ha-agent pair init` here and `ha-agent pair join` on the other node"
    )]
    Unpaired,
    /// The other side.
    #[error(transparent)]
    Pair(#[from] PairError),
    /// It can't listen.
    #[error(
        "can't listen on {address}: {cause}; name another address with --listen, and the same one to `pair join`"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's error.
        cause: io::Error,
    },
    /// Nobody is there.
    #[error(
        "no connection to {address}: {cause}; is `ha-agent pair init` running there, and no firewall between?"
    )]
    Connect {
        /// Where.
        address: SocketAddr,
        /// The system's error.
        cause: io::Error,
    },
    /// Somebody guesses.
    #[error(
        "{TRIES} wrong codes, the last from {0}: the code is not valid any more; run `ha-agent pair init` again for another"
    )]
    TooManyTries(SocketAddr),
    /// Nobody came.
    #[error("nobody came with the code in {} minutes: it is not valid any more; run `ha-agent pair init` again for another", VALIDITY.as_secs() / 60)]
    Expired,
}

impl CeremonyError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Store(error) => error.exit(),
            Self::Identity(_) => Exit::Os,
            Self::Paired(_) | Self::Unpaired | Self::Pair(PairError::Itself | PairError::SameName(_)) => {
                Exit::Config
            }
            Self::Pair(_)
            | Self::Listen { .. }
            | Self::Connect { .. }
            | Self::TooManyTries(_)
            | Self::Expired => Exit::Unavailable,
        }
    }
}

impl Ready {
    /// Reads this node's identity, or makes one that is written once the node is paired. `replace` allows that it is
    /// paired already; its key stays, so that the old pair goes on until the new one is made.
    ///
    /// # Errors
    ///
    /// See [`CeremonyError`].
    pub fn new(store: Store, node: &str, replace: bool) -> Result<Self, CeremonyError> {
        store.create()?;
        let lock = store.lock()?;
        if let Some(peer) = store.certificate(Part::Peer)?
            && !replace
        {
            return Err(CeremonyError::Paired(peer.name().to_owned()));
        }
        let (own, is_new) = match store.identity(Part::Node)? {
            Some(own) if own.certificate().name() == node => (own, false),
            // Renamed since.
            Some(own) => (Identity::generate(node, own.certificate().id())?, true),
            None => (Identity::generate(node, NodeId::random()?)?, true),
        };
        Ok(Self { store, lock, own, is_new })
    }

    /// Waits for the one who was told the code, for [`VALIDITY`], one guest at a time, and pairs with it. `tell` is told
    /// what goes wrong with others.
    ///
    /// # Errors
    ///
    /// See [`CeremonyError`].
    pub async fn host(
        self,
        listener: &TcpListener,
        code: &Code,
        mut tell: impl FnMut(&str),
    ) -> Result<Certificate, CeremonyError> {
        let deadline = Instant::now() + VALIDITY;
        let (mut wrong, mut told) = (0, 0);
        loop {
            let Ok(accepted) = timeout_at(deadline, listener.accept()).await else {
                return Err(CeremonyError::Expired);
            };
            let Ok((stream, guest)) = accepted else {
                tokio::time::sleep(BREATH).await;
                continue;
            };
            match host(stream, code, self.own.certificate()).await {
                Ok(mut introduced) => {
                    self.commit(&introduced.peer)?;
                    let confirmed = async {
                        introduced.say_pinned().await?;
                        introduced.hear_pinned().await
                    };
                    // It may be paired all the same.
                    confirmed.await.map_err(|_| PairError::Unconfirmed)?;
                    return Ok(introduced.peer);
                }
                Err(PairError::WrongCode) => {
                    wrong += 1;
                    if wrong == TRIES {
                        return Err(CeremonyError::TooManyTries(guest));
                    }
                    tell(&format!("a wrong code from {guest}, {wrong} of {TRIES} tries"));
                }
                // It knows the code, and can't be the other one of a pair.
                Err(error @ (PairError::Itself | PairError::SameName(_))) => return Err(error.into()),
                Err(error) if told < TOLD => {
                    told += 1;
                    tell(&format!("{guest}: {error}"));
                }
                Err(_) => {}
            }
        }
    }

    /// Pairs with the node that shows the code.
    ///
    /// # Errors
    ///
    /// See [`CeremonyError`].
    pub async fn join(self, address: SocketAddr, code: &Code) -> Result<Certificate, CeremonyError> {
        let failed = |cause| CeremonyError::Connect { address, cause };
        let stream = match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(connected) => connected.map_err(failed)?,
            Err(_) => return Err(failed(io::ErrorKind::TimedOut.into())),
        };
        let mut introduced = join(stream, code, self.own.certificate()).await?;
        introduced.hear_pinned().await?;
        self.commit(&introduced.peer)?;
        introduced.say_pinned().await.map_err(|_| PairError::Unconfirmed)?;
        Ok(introduced.peer)
    }

    /// The last file makes the pair.
    fn commit(&self, peer: &Certificate) -> Result<(), StoreError> {
        if self.is_new {
            self.store.write(&self.lock, Part::Node, &self.own.to_pem())?;
        }
        // It was the old peer's.
        self.store.remove(&self.lock, Part::PeerNext)?;
        self.store.write(&self.lock, Part::Peer, &peer.to_pem())
    }
}

/// Makes the identity that this node is to go over to; the one that was made before, if the peer does not have it yet.
///
/// # Errors
///
/// See [`CeremonyError`].
pub fn rotate(store: &Store, node: &str) -> Result<Certificate, CeremonyError> {
    let lock = match store.lock() {
        Err(StoreError::NoDirectory(_)) => return Err(CeremonyError::Unpaired),
        lock => lock?,
    };
    let (Some(own), Some(_)) = (store.identity(Part::Node)?, store.certificate(Part::Peer)?) else {
        return Err(CeremonyError::Unpaired);
    };
    if let Some(next) = store.identity(Part::NodeNext)? {
        return Ok(next.certificate().clone());
    }
    let next = Identity::generate(node, own.certificate().id())?;
    store.write(&lock, Part::NodeNext, &next.to_pem())?;
    Ok(next.certificate().clone())
}

/// For how long a code is valid.
pub const VALIDITY: Duration = Duration::from_mins(10);
/// Wrong codes until it is not valid any more.
const TRIES: u32 = 5;
/// Other failures that are told.
const TOLD: u32 = 20;
const CONNECT: Duration = Duration::from_secs(5);
/// After an error that may come again at once.
const BREATH: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(directory: &tempfile::TempDir, name: &str, replace: bool) -> Result<Ready, CeremonyError> {
        Ready::new(store(directory, name), name, replace)
    }

    fn store(directory: &tempfile::TempDir, name: &str) -> Store {
        Store::at(&directory.path().join(name))
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn a_pair_is_made_once_and_replaced_if_told_so() {
        let directory = tempfile::tempdir().unwrap();
        let code = Code::random().unwrap();
        for (guest, replace) in [("b", false), ("c", true)] {
            let (listener, address) = listener().await;
            let (a, other) =
                (ready(&directory, "a", replace).unwrap(), ready(&directory, guest, false).unwrap());
            // Two at once do not work on the same files.
            assert!(matches!(ready(&directory, "a", true), Err(CeremonyError::Store(StoreError::Busy(_)))));
            let (host, join) = tokio::join!(a.host(&listener, &code, |_| ()), other.join(address, &code));
            assert_eq!((host.unwrap().name(), join.unwrap().name()), (guest, "a"));
            for (own, peer) in [("a", guest), (guest, "a")] {
                let pinned = store(&directory, own).certificate(Part::Peer).unwrap().unwrap();
                let theirs = store(&directory, peer).identity(Part::Node).unwrap().unwrap();
                assert_eq!(pinned, *theirs.certificate());
            }
            let error = ready(&directory, "a", false).unwrap_err();
            assert!(matches!(&error, CeremonyError::Paired(name) if name == guest), "{error}");
        }
    }

    #[tokio::test]
    async fn five_wrong_codes_end_it_and_leave_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (listener, address) = listener().await;
        let (code, other) = (Code::random().unwrap(), Code::random().unwrap());
        let a = ready(&directory, "a", false).unwrap();
        let mut told = Vec::new();
        let guesses = async {
            for _ in 0..TRIES {
                // What does not try a code costs no try.
                drop(TcpStream::connect(address).await.unwrap());
                let error = ready(&directory, "b", false).unwrap().join(address, &other).await.unwrap_err();
                assert!(matches!(error, CeremonyError::Pair(PairError::WrongCode)), "{error}");
            }
        };
        let (host, ()) = tokio::join!(a.host(&listener, &code, |line| told.push(line.to_owned())), guesses);
        assert!(matches!(host, Err(CeremonyError::TooManyTries(_))));
        assert_eq!(told.iter().filter(|line| line.contains("wrong code")).count(), 4, "{told:?}");
        for name in ["a", "b"] {
            let files: Vec<_> = std::fs::read_dir(directory.path().join(name)).unwrap().collect();
            assert_eq!(files.len(), 1, "more than the lock: {files:?}");
        }
    }

    #[tokio::test]
    async fn namesakes_are_told_so_and_are_a_pair_once_one_is_renamed() {
        let directory = tempfile::tempdir().unwrap();
        let code = Code::random().unwrap();
        let at = |place: &str, name: &str| Ready::new(store(&directory, place), name, false);
        let (listener, address) = listener().await;
        let (host, guest) = (at("a", "node").unwrap(), at("b", "node").unwrap());
        let (host, guest) = tokio::join!(host.host(&listener, &code, |_| ()), guest.join(address, &code));
        for error in [host.unwrap_err(), guest.unwrap_err()] {
            assert!(error.to_string().starts_with("both nodes are called 'node'"), "{error}");
            assert_eq!(error.exit(), Exit::Config);
        }
        for name in ["a", "b"] {
            let files: Vec<_> = std::fs::read_dir(directory.path().join(name)).unwrap().collect();
            assert_eq!(files.len(), 1, "more than the lock: {files:?}");
        }
        // With a key that it has already, in its old name.
        let old = at("b", "node").unwrap();
        old.store.write(&old.lock, Part::Node, &old.own.to_pem()).unwrap();
        drop(old);
        let (host, guest) = (at("a", "node").unwrap(), at("b", "other").unwrap());
        let (host, guest) = tokio::join!(host.host(&listener, &code, |_| ()), guest.join(address, &code));
        assert_eq!((host.unwrap().name(), guest.unwrap().name()), ("other", "node"));
        let own = store(&directory, "b").identity(Part::Node).unwrap().unwrap();
        assert_eq!(own.certificate().name(), "other");
    }

    #[test]
    fn a_rotation_is_begun_once_and_only_in_a_pair() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(rotate(&store(&directory, "a"), "a"), Err(CeremonyError::Unpaired)));
        let (a, b) = (ready(&directory, "a", false).unwrap(), ready(&directory, "b", false).unwrap());
        a.commit(b.own.certificate()).unwrap();
        let own = a.own.certificate().clone();
        drop(a);
        let next = rotate(&store(&directory, "a"), "a").unwrap();
        assert_eq!(next.id(), own.id());
        assert_ne!(next, own);
        assert_eq!(rotate(&store(&directory, "a"), "a").unwrap(), next);
        assert_eq!(store(&directory, "a").identity(Part::Node).unwrap().unwrap().certificate(), &own);
    }
}
