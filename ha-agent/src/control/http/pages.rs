//! The page, its parts, and logging in. All of it is inside the binary.

use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::Site;
use super::access::{Access, Guest};
use super::api::{body, refused};
use super::guard::visitor;
use crate::control::server::Source;

/// The page; whoever may not look is led to the login.
pub(super) async fn index<S: Source>(State(site): State<Arc<Site<S>>>, request: Request<Body>) -> Response {
    match site.access.guest(visitor(&request), request.headers()) {
        Some(_) => part("index.html", request.headers()),
        None if site.access.has_login() => (StatusCode::SEE_OTHER, [(LOCATION, "/login")]).into_response(),
        None => (StatusCode::UNAUTHORIZED, "the reverse proxy does not say who you are\n").into_response(),
    }
}

/// Asks for the token.
pub(super) async fn login(headers: HeaderMap) -> Response {
    part("login.html", &headers)
}

/// Takes the token of the form.
pub(super) async fn log_in<S: Source>(State(site): State<Arc<Site<S>>>, request: Request<Body>) -> Response {
    if !Access::is_own(&Guest::Anybody, request.headers()) {
        return refused(StatusCode::FORBIDDEN, "this came from another page; use this one");
    }
    let (visitor, headers) = (visitor(&request), request.headers().clone());
    let body = match body(request).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let said = form_value(&body, "token").unwrap_or_default();
    let Some(cookie) = site.access.log_in(said.trim_ascii(), visitor, &headers) else {
        tracing::debug!(from = %visitor.from, "a wrong token at the login of the page");
        return (StatusCode::SEE_OTHER, [(LOCATION, "/login?wrong")]).into_response();
    };
    (StatusCode::SEE_OTHER, [(LOCATION, HeaderValue::from_static("/")), (SET_COOKIE, cookie)]).into_response()
}

/// Ends the session of this browser.
pub(super) async fn log_out<S: Source>(State(site): State<Arc<Site<S>>>, request: Request<Body>) -> Response {
    if !Access::is_own(&Guest::Anybody, request.headers()) {
        return refused(StatusCode::FORBIDDEN, "this came from another page; use this one");
    }
    let cookie = site.access.log_out(visitor(&request), request.headers());
    let mut response = (StatusCode::SEE_OTHER, [(LOCATION, "/login")]).into_response();
    if let Some(cookie) = cookie {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// A part of the page.
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    part(&name, &headers)
}

fn part(name: &str, headers: &HeaderMap) -> Response {
    let Some(part) = PARTS.iter().find(|part| part.name == name) else {
        return (StatusCode::NOT_FOUND, "not found\n").into_response();
    };
    let kept = [(CACHE_CONTROL, "no-cache"), (ETAG, &part.tag)];
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known == part.tag.as_str()) {
        return (StatusCode::NOT_MODIFIED, kept).into_response();
    }
    (kept, [(CONTENT_TYPE, part.kind)], part.text).into_response()
}

/// The value of a field in a form, as browsers write it.
fn form_value(form: &[u8], field: &str) -> Option<Vec<u8>> {
    let pair = form.split(|byte| *byte == b'&').find_map(|pair| {
        let (name, value) = pair.split_at_checked(field.len() + 1)?;
        (name.strip_suffix(b"=") == Some(field.as_bytes())).then_some(value)
    })?;
    let mut value = Vec::with_capacity(pair.len());
    let mut rest = pair;
    while let [first, after @ ..] = rest {
        rest = after;
        value.push(match (first, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => {
                rest = after;
                u8::from_str_radix(std::str::from_utf8(&[*high, *low]).ok()?, 16).ok()?
            }
            (other, _) => *other,
        });
    }
    Some(value)
}

/// Something that a browser loads.
struct Part {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
    /// Changes with it.
    tag: String,
}

impl Part {
    fn new(name: &'static str, kind: &'static str, text: &'static str) -> Self {
        let digest = Sha256::digest(text);
        let tag = BASE64_URL_SAFE_NO_PAD.encode(digest);
        Self { name, kind, text, tag: format!("\"{tag}\"") }
    }
}

macro_rules! parts {
    ($($name:literal: $kind:expr),* $(,)?) => {
        [$(Part::new($name, $kind, include_str!(concat!("../../../web/", $name)))),*]
    };
}

static PARTS: LazyLock<[Part; 10]> = LazyLock::new(|| {
    parts! {
        "index.html": HTML,
        "login.html": HTML,
        "style.css": "text/css; charset=utf-8",
        "icon.svg": "image/svg+xml",
        "app.js": SCRIPT,
        "dom.js": SCRIPT,
        "story.js": SCRIPT,
        "panels.js": SCRIPT,
        "charts.js": SCRIPT,
        "failover.js": SCRIPT,
    }
});
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let value = |form: &str| {
            form_value(form.as_bytes(), "token").map(|value| String::from_utf8_lossy(&value).into_owned())
        };
        assert_eq!(value("token=a%2Bb%3D+c").as_deref(), Some("a+b= c"));
        assert_eq!(value("next=%2F&token=x").as_deref(), Some("x"));
        for none in ["", "token", "tokens=x", "tok=", "token=%2", "token=%zz", "token=%c3%"] {
            assert!(value(none).is_none_or(|value| value.contains('%')), "{none}");
        }
    }
}
