//! Keeps the credentials in line with the files, and changes the files at rotation.
//!
//! A node that has a next certificate offers it on each connection until the peer has pinned it, and goes over to it
//! then; the peer forgets the old one when it has seen the new one. Each step is on the disk before the next begins, so
//! that either node may end at any point: until the last step, the peer accepts both.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::Shared;
use super::status::Condition;
use crate::peer::identity::Certificate;
use crate::peer::message::Message;
use crate::peer::store::{Part, Stamp, Store, StoreError};
use crate::peer::tls::Tls;

/// How this node shows who it is, and whom it accepts.
pub(super) struct Credentials {
    pub(super) tls: Tls,
    pub(super) own: Certificate,
    /// The peer's.
    pub(super) peer: Certificate,
    /// The one that the peer goes over to: accepted, too.
    peer_next: Option<Certificate>,
    /// The one that this node goes over to: to be offered.
    pub(super) next: Option<Certificate>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({:?}, {:?})", self.own, self.peer)
    }
}

/// What a connection asks for.
#[derive(Debug)]
pub(super) enum Request {
    /// To accept the peer's next certificate.
    Pin(CertificateDer<'static>),
    /// To go over to the next certificate, which the peer accepts now.
    GoOver(CertificateDer<'static>),
}

/// The keeper.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    store: Store,
    credentials: watch::Sender<Option<Arc<Credentials>>>,
    stamp: Option<Stamp>,
}

/// What is in the files.
enum Loaded {
    Unpaired,
    Paired(Box<Credentials>),
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, credentials: watch::Sender<Option<Arc<Credentials>>>) -> Self {
        let store = Store::at(&shared.settings.directory);
        Self { shared, store, credentials, stamp: None }
    }

    /// Keeps them, for ever.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut round = interval(ROUND);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = round.tick() => {
                    self.look().await;
                    self.go_on().await;
                }
                request = requests.recv() => match request {
                    Some(request) => self.serve(request).await,
                    None => return,
                },
            }
        }
    }

    /// Reads the files, if they are others than before.
    async fn look(&mut self) {
        let store = self.store.clone();
        let before = self.stamp.clone();
        let read = blocking(move || {
            // Before they are read: what is replaced meanwhile is read again.
            let stamp = store.stamp();
            (before.as_ref() != Some(&stamp)).then(|| (stamp, load(&store)))
        });
        let Some(Some((stamp, loaded))) = read.await else { return };
        self.stamp = Some(stamp);
        match loaded {
            Ok(Loaded::Paired(credentials)) => self.take(*credentials),
            Ok(Loaded::Unpaired) => self.lose(Condition::Unpaired),
            Err(error) => {
                tracing::error!("peer link: {error}");
                self.lose(Condition::Down { why: error });
            }
        }
    }

    /// Goes on with a rotation, whatever became of the step before.
    async fn go_on(&mut self) {
        let Some(current) = self.credentials.borrow().clone() else { return };
        if let Some(next) = &current.next {
            self.offer(next);
        }
        let Some(next) = &current.peer_next else { return };
        let der = next.der().clone();
        if self.shared.update(|paths| paths.is_used(&der)) {
            let store = self.store.clone();
            let done = blocking(move || forget_old(&store, &der)).await;
            tell(done);
            self.look().await;
        }
    }

    fn offer(&self, next: &Certificate) {
        let der = next.der().to_vec().into();
        self.shared.update(|paths| paths.send_to_all(&Message::Certificate { der }));
    }

    /// Goes over to other credentials.
    fn take(&self, credentials: Credentials) {
        let credentials = Arc::new(credentials);
        let Credentials { own, peer, peer_next, next, .. } = &*credentials;
        let pinned: Vec<_> =
            [Some(peer), peer_next.as_ref()].into_iter().flatten().map(|it| it.der().clone()).collect();
        // First of all: whoever begins now begins with the new ones.
        self.credentials.send_replace(Some(Arc::clone(&credentials)));
        self.shared.update(|paths| {
            paths.set_trouble(None);
            paths.set_peer(Some((peer.id(), peer.name())), next.is_some());
            paths.end_others(Some(own.der()), &pinned, OTHERS);
        });
    }

    /// Has none any more.
    fn lose(&self, trouble: Condition) {
        self.credentials.send_replace(None);
        self.shared.update(|paths| {
            paths.set_trouble(Some(trouble));
            paths.set_peer(None, false);
            paths.end_others(None, &[], OTHERS);
        });
    }

    async fn serve(&mut self, request: Request) {
        let Some(current) = self.credentials.borrow().clone() else { return };
        let store = self.store.clone();
        let done = match &request {
            Request::Pin(der) => {
                let der = der.clone();
                blocking(move || pin(&store, &current, &der)).await
            }
            Request::GoOver(der) => {
                let der = der.clone();
                blocking(move || go_over(&store, &der)).await
            }
        };
        if !tell(done) {
            return;
        }
        self.look().await;
        // Not before it is accepted.
        if let Request::Pin(der) = request {
            let der = der.to_vec().into();
            self.shared.update(|paths| paths.send_to_all(&Message::CertificatePinned { der }));
        }
    }
}

/// Logs what was done. Returns whether that went well; if not, it is tried again.
fn tell(done: Option<Result<Option<&'static str>, String>>) -> bool {
    match done {
        Some(Ok(Some(done))) => tracing::info!("peer link: {done}"),
        Some(Ok(None)) => {}
        Some(Err(error)) => {
            tracing::warn!("peer link: the certificates could not be changed: {error}");
            return false;
        }
        None => return false,
    }
    true
}

/// Pins the next certificate of the peer. Returns what was done, if anything was.
fn pin(
    store: &Store,
    current: &Credentials,
    der: &CertificateDer<'_>,
) -> Result<Option<&'static str>, String> {
    let is_known = |certificate: &Certificate| certificate.der() == der;
    if is_known(&current.peer) || current.peer_next.as_ref().is_some_and(is_known) {
        return Ok(None);
    }
    let next = Certificate::from_der(der).map_err(|error| format!("what the peer offers {error}"))?;
    if next.id() != current.peer.id() {
        return Err("what the peer offers is another node's; look at `ha-agent pair show` there".to_owned());
    }
    let text = |error: StoreError| error.to_string();
    let lock = store.lock().map_err(text)?;
    store.write(&lock, Part::PeerNext, &next.to_pem()).map_err(text)?;
    Ok(Some("the peer's next certificate is accepted, too"))
}

/// Goes over to this node's next identity, if it is that one.
fn go_over(store: &Store, der: &CertificateDer<'_>) -> Result<Option<&'static str>, String> {
    let text = |error: StoreError| error.to_string();
    let lock = store.lock().map_err(text)?;
    match store.identity(Part::NodeNext).map_err(text)? {
        Some(next) if next.certificate().der() == der => {
            store.promote(&lock, Part::NodeNext, Part::Node).map_err(text)?;
            Ok(Some("this node has a new certificate, which the peer accepts"))
        }
        Some(_) | None => Ok(None),
    }
}

/// Accepts only the peer's next certificate from now on, if it is that one.
fn forget_old(store: &Store, der: &CertificateDer<'_>) -> Result<Option<&'static str>, String> {
    let text = |error: StoreError| error.to_string();
    let lock = store.lock().map_err(text)?;
    match store.certificate(Part::PeerNext).map_err(text)? {
        Some(next) if next.der() == der => {
            store.promote(&lock, Part::PeerNext, Part::Peer).map_err(text)?;
            Ok(Some("the peer has a new certificate, the old one is refused from now on"))
        }
        Some(_) | None => Ok(None),
    }
}

fn load(store: &Store) -> Result<Loaded, String> {
    let text = |error: StoreError| error.to_string();
    let (Some(identity), Some(peer)) =
        (store.identity(Part::Node).map_err(text)?, store.certificate(Part::Peer).map_err(text)?)
    else {
        return Ok(Loaded::Unpaired);
    };
    let peer_next = store.certificate(Part::PeerNext).map_err(text)?;
    let next = store.identity(Part::NodeNext).map_err(text)?.map(|next| next.certificate().clone());
    let pinned: Vec<_> = [Some(&peer), peer_next.as_ref()].into_iter().flatten().cloned().collect();
    let tls = Tls::new(&identity, &pinned)
        .map_err(|error| format!("the key of this node can't be used: {error}; pair anew"))?;
    let own = identity.certificate().clone();
    Ok(Loaded::Paired(Box::new(Credentials { tls, own, peer, peer_next, next })))
}

/// Does what may wait for a disk where that keeps nobody waiting. `None` while the agent ends.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// How often the files are looked at.
const ROUND: Duration = Duration::from_secs(1);
const OTHERS: &str = "the certificates were changed";
