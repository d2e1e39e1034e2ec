//! Listens on one address, and never stops: whatever comes, the peer finds it open.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Shared;
use super::connection;
use super::keeper::Credentials;
use super::strangers::Place;
use crate::sys::clock;

type Current = watch::Receiver<Option<Arc<Credentials>>>;

/// Listens while there is somebody to listen for. An address that is taken is tried again.
pub(super) async fn run(shared: Arc<Shared>, address: SocketAddr) {
    let mut credentials = shared.credentials.clone();
    let mut complained = false;
    loop {
        if credentials.wait_for(Option::is_some).await.is_err() {
            return;
        }
        match bind(address) {
            Ok(listener) => {
                complained = false;
                accept(&shared, &listener, &mut credentials).await;
            }
            Err(error) => {
                if !complained {
                    tracing::error!(
                        "the peer link can't listen on {address}: {error}; is the port taken? trying again"
                    );
                }
                complained = true;
                sleep(PAUSE).await;
            }
        }
    }
}

/// A listener on an address, which need not be there yet.
///
/// # Errors
///
/// If the port is taken, or the system refuses.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts, until there is nobody to listen for any more.
async fn accept(shared: &Arc<Shared>, listener: &TcpListener, credentials: &mut Current) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            changed = credentials.changed() => {
                if changed.is_err() || credentials.borrow().is_none() {
                    return;
                }
                continue;
            }
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // No descriptors or memory left, which comes back; or the other end was gone already.
                tracing::debug!(%error, "a connection of the peer link could not be accepted");
                sleep(BREATH).await;
                continue;
            }
        };
        let Some(current) = credentials.borrow().clone() else { return };
        match shared.strangers.admit(remote.ip()) {
            Some(place) => drop(connections.spawn(serve(Arc::clone(shared), current, stream, remote, place))),
            None => turn_away(shared, remote, "too many at a time that do not say who they are"),
        }
    }
}

async fn serve(
    shared: Arc<Shared>,
    credentials: Arc<Credentials>,
    stream: TcpStream,
    remote: SocketAddr,
    place: Place,
) {
    let is_ours = false;
    let greeting = connection::greet(&shared, credentials, stream, remote, is_ours);
    let greeted = timeout(PATIENCE, greeting).await;
    drop(place);
    match greeted {
        Ok(Ok(greeted)) => greeted.run(&shared).await,
        Ok(Err(end)) => turn_away(&shared, remote, &end.to_string()),
        Err(_) => turn_away(&shared, remote, "it did not say in time who it is"),
    }
}

/// Logs it, but not each time.
fn turn_away(shared: &Shared, remote: SocketAddr, why: &str) {
    if let Some(count) = shared.strangers.refuse(clock::now()) {
        tracing::warn!("peer link: {count} connections turned away, the last from {}: {why}", remote.ip());
    }
}

/// How long a stranger has to show that it is none.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two tries to listen.
const PAUSE: Duration = Duration::from_secs(1);
/// After an error that may come again at once.
const BREATH: Duration = Duration::from_millis(100);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
