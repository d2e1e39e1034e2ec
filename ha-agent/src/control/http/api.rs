//! What programs ask for: our own page among them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::unfold;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Site;
use super::access::{Access, Guest};
use super::guard::{is_json, visitor};
use crate::control::Reply;
use crate::control::metrics::{self, Format};
use crate::control::order::Failover;
use crate::control::server::Source;
use crate::control::views::Watching;

/// The status as JSON.
pub(super) async fn status<S: Source>(State(site): State<Arc<Site<S>>>) -> Response {
    match site.source.views().latest().await {
        Some(view) => ([(CONTENT_TYPE, JSON)], view.json.clone()).into_response(),
        None => refused(StatusCode::SERVICE_UNAVAILABLE, NO_ANSWER),
    }
}

/// The same at once whenever something happens, as server-sent events. A slow viewer misses those between.
pub(super) async fn events<S: Source>(State(site): State<Arc<Site<S>>>) -> Response {
    let next = async |mut watching: Watching| {
        let event = match timeout(SIGN_OF_LIFE, watching.next()).await {
            Ok(Some(view)) => view.event.clone(),
            Ok(None) => return None,
            Err(_) => Bytes::from_static(b": nothing new\n\n"),
        };
        Some((Ok::<_, Infallible>(event), watching))
    };
    let body = Body::from_stream(unfold(site.source.views().watch(), next));
    // Reverse proxies pass on what they have when they are told to (nginx).
    ([(CONTENT_TYPE.as_str(), "text/event-stream"), ("x-accel-buffering", "no")], body).into_response()
}

/// The numbers, in the format that the reader prefers.
pub(super) async fn metrics<S: Source>(State(site): State<Arc<Site<S>>>, headers: HeaderMap) -> Response {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let is_open = accepted.into_iter().any(|value| value.contains("application/openmetrics-text"));
    let (format, kind) = if is_open {
        (Format::Openmetrics, "application/openmetrics-text; version=1.0.0; charset=utf-8")
    } else {
        (Format::Prometheus, "text/plain; version=0.0.4; charset=utf-8")
    };
    match site.source.views().latest().await {
        Some(view) => ([(CONTENT_TYPE, kind)], metrics::text(&view.status, format)).into_response(),
        None => refused(StatusCode::SERVICE_UNAVAILABLE, NO_ANSWER),
    }
}

/// What whoever asks may do here.
pub(super) async fn session<S: Source>(State(site): State<Arc<Site<S>>>, request: Request<Body>) -> Response {
    let guest = site.access.guest(visitor(&request), request.headers());
    let name = match &guest {
        Some(Guest::Proxied(name)) => Some(name),
        Some(Guest::Anybody | Guest::Bearer | Guest::Session) | None => None,
    };
    let session = json!({
        "may_look": guest.is_some(),
        "may_act": site.access.has_actions() && guest.as_ref().is_some_and(Guest::is_known),
        "logged_in": guest == Some(Guest::Session),
        "login": site.access.has_login(),
        "name": name,
    });
    answer(StatusCode::OK, &session)
}

/// Whether the agent answers: for whoever watches over it. Tells nothing else, to anybody.
pub(super) async fn health<S: Source>(State(site): State<Arc<Site<S>>>) -> Response {
    match site.source.views().latest().await {
        Some(_) => (StatusCode::OK, "ok\n").into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, NO_ANSWER).into_response(),
    }
}

/// Moves the active role of the pair. What happens is told line by line.
pub(super) async fn failover<S: Source>(
    State(site): State<Arc<Site<S>>>,
    request: Request<Body>,
) -> Response {
    let Some(guest) = request.extensions().get::<Guest>().cloned() else {
        return refused(StatusCode::UNAUTHORIZED, "nobody knows who you are");
    };
    if !site.access.has_actions() || !guest.is_known() {
        return refused(StatusCode::FORBIDDEN, "this page only shows; set actions = true in [web]");
    }
    if !Access::is_own(&guest, request.headers()) {
        return refused(StatusCode::FORBIDDEN, "this came from another page; use this one");
    }
    if !is_json(request.headers()) {
        return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the order must be application/json");
    }
    let from = visitor(&request).from;
    let body = match body(request).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let order: Failover = match serde_json::from_slice(&body) {
        Ok(order) => order,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &format!("not an order: {error}")),
    };
    tracing::info!(guest = guest.name(), %from, ?order, "a failover was ordered on the page");
    match site.source.failover(order).await {
        Ok(replies) => {
            let body = Body::from_stream(unfold(replies, next_line));
            ([(CONTENT_TYPE.as_str(), "application/x-ndjson"), ("x-accel-buffering", "no")], body)
                .into_response()
        }
        Err(cause) => refused(StatusCode::CONFLICT, &cause),
    }
}

/// The body of a request, if it is short and comes soon.
pub(super) async fn body(request: Request<Body>) -> Result<Bytes, Response> {
    match timeout(BODY_TIME, to_bytes(request.into_body(), BODY)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long")),
        Err(_) => Err(refused(StatusCode::REQUEST_TIMEOUT, "the body did not come")),
    }
}

/// Says why nothing was done.
pub(super) fn refused(code: StatusCode, cause: &str) -> Response {
    answer(code, &json!({ "error": cause }))
}

async fn next_line(
    mut replies: mpsc::Receiver<Reply>,
) -> Option<(Result<Bytes, serde_json::Error>, mpsc::Receiver<Reply>)> {
    let reply = replies.recv().await?;
    let mut line = BytesMut::new().writer();
    let written = serde_json::to_writer(&mut line, &reply);
    let mut line = line.into_inner();
    line.put_u8(b'\n');
    Some((written.map(|()| line.freeze()), replies))
}

fn answer(code: StatusCode, value: &Value) -> Response {
    (code, [(CONTENT_TYPE, JSON)], value.to_string()).into_response()
}

const JSON: &str = "application/json";
const NO_ANSWER: &str = "the detector does not answer";
/// How often is said that the agent is there, if it has nothing to show.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// Bytes of a body,
const BODY: usize = 4096;
/// and how long it may take.
const BODY_TIME: Duration = Duration::from_secs(5);
