//! What each request goes through.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HOST, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Site, Visitor};
use crate::control::server::Source;

/// Lets in whoever may look, and tells what follows who it is.
pub(super) async fn known<S: Source>(
    State(site): State<Arc<Site<S>>>,
    mut request: Request<Body>,
    next: Next,
) -> Response {
    match site.access.guest(visitor(&request), request.headers()) {
        Some(guest) => {
            request.extensions_mut().insert(guest);
            next.run(request).await
        }
        None => (
            StatusCode::UNAUTHORIZED,
            [(WWW_AUTHENTICATE, "Bearer")],
            "a token is needed: log in at /login, or send `Authorization: Bearer TOKEN`\n",
        )
            .into_response(),
    }
}

/// Refuses what a browser was led to by a name that is none of ours.
pub(super) async fn host<S: Source>(
    State(site): State<Arc<Site<S>>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    if site.access.is_for_us(visitor(&request), request.headers()) {
        return next.run(request).await;
    }
    tracing::debug!(host = ?request.headers().get(HOST), "a request for somebody else");
    let remedy = "this is not the name of this page; use its address, or list the name as `hosts` in [web]\n";
    (StatusCode::MISDIRECTED_REQUEST, remedy).into_response()
}

/// Tells browsers what not to do with any answer.
pub(super) async fn harden(request: Request<Body>, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HARDENED {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    // Parts of the page say otherwise.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whose request it is.
pub(super) fn visitor(request: &Request<Body>) -> Visitor {
    request.extensions().get().copied().unwrap_or_default()
}

/// Whether the body is said to be JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

const HARDENED: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
];
