//! The page for browsers, and what else is answered by HTTP.
//!
//! ```text
//!   door ── who may connect, and for how long
//!   └─ guard   before each request: whom it is for, who asks; after it: what browsers are forbidden
//!      ├─ pages   the page, its parts, logging in
//!      └─ api     status, events, metrics, failover
//! ```
//!
//! It speaks HTTP/1.1 without TLS: a reverse proxy adds that. It runs where the control socket does, never on the fast
//! thread, and is handed the snapshots that are made for all ([`super::views`]).

mod access;
mod api;
mod door;
mod guard;
mod pages;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use self::access::Access;
use self::door::Door;
use super::server::Source;
use crate::config::WebConfig;

/// Answers at all addresses of the configuration, until it is dropped. An address that is taken is tried again.
pub async fn serve<S: Source>(config: WebConfig, source: Arc<S>) {
    let listen = config.listen.clone();
    let door = Arc::new(Door::new(config.trust.as_ref().map_or(&[], |trust| &trust.proxies)));
    let handler = Handler::new(config, source);
    let mut listening = JoinSet::new();
    for address in listen {
        listening.spawn(door::listen(Arc::clone(&door), address, handler.clone()));
    }
    // They end with this.
    while listening.join_next().await.is_some() {}
}

/// Answers on connections that somebody else has accepted. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handler(Router);

impl Handler {
    /// Where it listens plays no part.
    #[must_use]
    pub fn new<S: Source>(config: WebConfig, source: Arc<S>) -> Self {
        Self(router(config, source))
    }

    /// Answers until the visitor goes, or is too slow.
    pub async fn converse(self, stream: impl AsyncRead + AsyncWrite + Unpin, visitor: Visitor) {
        door::converse(stream, visitor, self.0).await;
    }
}

/// Who has connected, and to what.
#[derive(Clone, Copy, Debug)]
pub struct Visitor {
    /// Where from.
    pub from: SocketAddr,
    /// Which of our addresses.
    pub to: SocketAddr,
}

/// What all requests need.
#[derive(Debug)]
struct Site<S> {
    source: Arc<S>,
    access: Access,
}

fn router<S: Source>(config: WebConfig, source: Arc<S>) -> Router {
    let site = Arc::new(Site { source, access: Access::new(config) });
    let known = Router::new()
        .route("/api/status", get(api::status::<S>))
        .route("/api/events", get(api::events::<S>))
        .route("/api/failover", post(api::failover::<S>))
        .route("/metrics", get(api::metrics::<S>))
        .route_layer(from_fn_with_state(Arc::clone(&site), guard::known::<S>));
    known
        .route("/", get(pages::index::<S>))
        .route("/login", get(pages::login).post(pages::log_in::<S>))
        .route("/logout", post(pages::log_out::<S>))
        .route("/assets/{name}", get(pages::asset))
        .route("/api/session", get(api::session::<S>))
        .route("/healthz", get(api::health::<S>))
        .fallback(async || (StatusCode::NOT_FOUND, "not found\n"))
        .layer(from_fn_with_state(Arc::clone(&site), guard::host::<S>))
        .layer(from_fn(guard::harden))
        .with_state(site)
}
