//! Who may connect, how many at a time, and how slow they may be.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Handler, Visitor};
use crate::peer::link::bind;

/// Counts who is in.
#[derive(Debug)]
pub(super) struct Door {
    /// Many people may come from there.
    proxies: Vec<IpAddr>,
    inside: Mutex<HashMap<IpAddr, usize>>,
}

/// A place; given back when dropped.
#[derive(Debug)]
struct Place {
    door: Arc<Door>,
    from: IpAddr,
}

impl Door {
    pub(super) fn new(proxies: &[IpAddr]) -> Self {
        Self { proxies: proxies.to_vec(), inside: Mutex::default() }
    }

    /// A place for somebody; `None` if there is none left.
    fn admit(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let is_many = from.is_loopback() || self.proxies.contains(&from);
        let most = if is_many { TOTAL } else { EACH };
        let of_these = inside.get(&from).copied().unwrap_or(0);
        if of_these >= most || inside.values().sum::<usize>() >= TOTAL {
            return None;
        }
        inside.insert(from, of_these + 1);
        Some(Place { door: Arc::clone(self), from })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.door.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_these) = inside.get_mut(&self.from) {
            *of_these -= 1;
            if *of_these == 0 {
                inside.remove(&self.from);
            }
        }
    }
}

/// Answers at an address until it is dropped; one that is taken is tried again.
pub(super) async fn listen(door: Arc<Door>, address: SocketAddr, handler: Handler) {
    let mut complained = false;
    loop {
        match bind(address) {
            Ok(listener) => {
                tracing::info!("the page for browsers is at http://{address}/");
                accept(&door, &listener, &handler).await;
            }
            Err(error) if complained => tracing::debug!("no page at {address}: {error}"),
            Err(error) => {
                tracing::error!("no page at {address}: {error}; is the port taken? trying again");
                complained = true;
            }
        }
        sleep(PAUSE).await;
    }
}

/// Takes in whoever comes, until no more can be accepted.
async fn accept(door: &Arc<Door>, listener: &TcpListener, handler: &Handler) {
    let mut connections = JoinSet::new();
    loop {
        // Those that have ended.
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, from)) => {
                // Whoever has none is told so by the end of the connection: an answer would cost.
                let Some(place) = door.admit(from.ip().to_canonical()) else { continue };
                connections.spawn(receive(stream, from, handler.clone(), place));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // No descriptors left: they come back when connections end.
            Err(error) => {
                tracing::warn!("the page can't accept a connection: {error}");
                sleep(BREATH).await;
            }
        }
    }
}

async fn receive(stream: TcpStream, from: SocketAddr, handler: Handler, place: Place) {
    if let Ok(to) = limit(&stream) {
        handler.converse(stream, Visitor { from, to }).await;
    }
    drop(place);
}

/// Answers until the visitor goes, or is too slow.
pub(super) async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, visitor: Visitor, router: Router) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(visitor);
        router.call(request)
    });
    let ended = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_header_size(HEAD)
        .max_headers(HEADERS)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = ended {
        tracing::trace!(from = %visitor.from, %error, "a visitor's connection failed");
    }
}

/// Whoever does not read is neither waited for nor kept much for. Returns which of our addresses it is.
fn limit(stream: &TcpStream) -> io::Result<SocketAddr> {
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(READ_TIME))?;
    socket.set_send_buffer_size(UNREAD)?;
    socket.set_tcp_nodelay(true)?;
    stream.local_addr()
}

/// Connections in all,
const TOTAL: usize = 256;
/// and from one address, beyond loopback and trusted proxies.
const EACH: usize = 48;
/// How long the head of a request may take, and the next one be waited for.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long what was sent may stay unread.
const READ_TIME: Duration = Duration::from_secs(15);
/// Bytes of a request's head,
const HEAD: usize = 8 * 1024;
/// its headers,
const HEADERS: usize = 64;
/// and bytes that are read at once.
const BUFFER: usize = 16 * 1024;
/// Bytes that wait for whoever does not read.
const UNREAD: usize = 128 * 1024;
/// Between two attempts to listen,
const PAUSE: Duration = Duration::from_secs(5);
/// and to accept.
const BREATH: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let proxy = IpAddr::from([10, 9, 0, 8]);
        let door = Arc::new(Door::new(&[proxy]));
        let stranger = IpAddr::from([10, 9, 0, 9]);
        let mut places: Vec<_> = (0..EACH).filter_map(|_| door.admit(stranger)).collect();
        assert!(places.len() == EACH && door.admit(stranger).is_none());
        places.pop();
        assert!(door.admit(stranger).is_some());
        places.extend((places.len()..TOTAL).filter_map(|_| door.admit(proxy)));
        assert!(places.len() == TOTAL && door.admit([127, 0, 0, 1].into()).is_none());
        drop(places);
        assert!(door.inside.lock().is_ok_and(|inside| inside.is_empty()));
    }
}
