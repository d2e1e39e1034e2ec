//! Who is let in, and who is not: requests in, codes out.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use anyhow::{Context, Result, ensure};
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::{Visitor, router};
use crate::config::{Token, Trust, WebConfig};
use crate::control::tests::Known;

#[tokio::test]
async fn on_loopback_anybody_may_look_and_nobody_act() -> Result<()> {
    let page = Page::new(WebConfig { token: None, trust: None, ..config() });
    let table = [
        ("GET", "/", "host: 127.0.0.1:7781", 200),
        ("GET", "/", "host: localhost:9999", 200),
        ("GET", "/", "host: [::1]:7781", 200),
        ("GET", "/api/status", "host: LOCALHOST.", 200),
        ("GET", "/metrics", "host: ha.example.org", 200),
        ("HEAD", "/healthz", "host: localhost", 200),
        ("GET", "/assets/style.css", "host: localhost", 200),
        ("GET", "/assets/../Cargo.toml", "host: localhost", 404),
        ("GET", "/nothing", "host: localhost", 404),
        ("DELETE", "/api/status", "host: localhost", 405),
        // A name that somebody else's DNS server leads here.
        ("GET", "/api/status", "host: evil.example", 421),
        ("GET", "/api/status", "host: ha.example.org.evil.example", 421),
        ("GET", "/api/status", "", 421),
        (
            "POST",
            "/api/failover",
            "host: localhost\nsec-fetch-site: same-origin\ncontent-type: application/json",
            403,
        ),
        ("POST", "/login", "host: localhost\nsec-fetch-site: same-origin", 303),
    ];
    page.expect(&table, "127.0.0.1:7781").await
}

#[tokio::test]
async fn with_a_token_only_those_who_know_it_are_let_in() -> Result<()> {
    let page = Page::new(config());
    let table = [
        ("GET", "/", "", 303),
        ("GET", "/login", "", 200),
        ("GET", "/assets/app.js", "", 200),
        ("GET", "/healthz", "", 200),
        ("GET", "/api/session", "", 200),
        ("GET", "/api/status", "", 401),
        ("GET", "/api/events", "", 401),
        ("GET", "/metrics", "", 401),
        ("GET", "/api/status", "authorization: Bearer xxxxxxxxxxxxxxxxxxxx", 200),
        ("GET", "/api/status", "authorization: bearer  xxxxxxxxxxxxxxxxxxxx", 200),
        ("GET", "/api/status", "authorization: Bearer xxxxxxxxxxxxxxxxxxx", 401),
        ("GET", "/api/status", "authorization: Bearer xxxxxxxxxxxxxxxxxxxxx", 401),
        ("GET", "/api/status", "authorization: Bearer ", 401),
        ("GET", "/api/status", "authorization: Basic xxxxxxxxxxxxxxxxxxxx", 401),
        ("GET", "/api/status", "cookie: ha-agent=9999999999.00", 401),
        ("GET", "/api/status", "cookie: ha-agent=xxxxxxxxxxxxxxxxxxxx", 401),
        // From nowhere near the proxy.
        ("GET", "/api/status", "x-remote-user: root", 401),
        // Beyond loopback there is nothing to be led to by a name.
        ("GET", "/metrics", "host: evil.example\nauthorization: Bearer xxxxxxxxxxxxxxxxxxxx", 200),
    ];
    page.expect(&table, "10.77.0.1:7781").await
}

#[tokio::test]
async fn whom_the_reverse_proxy_knows_is_known() -> Result<()> {
    let page = Page { from: "10.77.0.8:40000".parse()?, ..Page::new(config()) };
    let table = [
        ("GET", "/api/status", "x-remote-user: ann", 200),
        ("GET", "/api/status", "x-remote-user: ", 401),
        ("GET", "/api/status", "x-remote-user: ann\nx-remote-user: root", 401),
        ("GET", "/api/status", "x-other: ann", 401),
    ];
    page.expect(&table, "10.77.0.1:7781").await?;
    let (_, _, said) = page.ask("GET", "/api/session", "x-remote-user: ann", "").await?;
    ensure!(said.contains(r#""name":"ann""#) && said.contains(r#""may_act":true"#), "{said}");
    let stranger = Page { from: "10.77.0.9:40000".parse()?, ..page };
    stranger.expect(&[("GET", "/api/status", "x-remote-user: ann", 401)], "10.77.0.1:7781").await
}

#[tokio::test]
async fn an_order_is_taken_from_our_own_page_and_from_no_other() -> Result<()> {
    let page = Page::new(config());
    let bearer = "host: a:1\ncontent-type: application/json\nauthorization: Bearer xxxxxxxxxxxxxxxxxxxx";
    let session = page.log_in().await?;
    let session = format!("host: a:1\ncontent-type: application/json\ncookie: {session}");
    let post =
        |headers: &str, more: &str, code| ("POST", "/api/failover", format!("{headers}\n{more}"), code);
    let table = [
        post(bearer, "", 200),
        post(bearer, "sec-fetch-site: same-origin", 200),
        post(bearer, "sec-fetch-site: cross-site", 403),
        post(bearer, "origin: http://b:1", 403),
        // Where it comes from is no text.
        post(bearer, "origin: http://\u{e4}:1", 403),
        post(&session, "sec-fetch-site: same-origin", 200),
        post(&session, "origin: http://a:1", 200),
        // Neither says where it comes from.
        post(&session, "", 403),
        post(&session, "sec-fetch-site: cross-site", 403),
        post(&session, "sec-fetch-site: same-site", 403),
        post(&session, "sec-fetch-site: none", 403),
        post(&session, "origin: http://b:1", 403),
        post(&session, "origin: http://a:2", 403),
        post(&session, "origin: null", 403),
        // What a form of somebody else's page could send.
        post(&session.replace("application/json", "text/plain"), "sec-fetch-site: same-origin", 415),
        post(&session.replace("content-type: application/json\n", ""), "sec-fetch-site: same-origin", 415),
    ];
    let mut orders = 0;
    for (method, path, headers, code) in &table {
        let (found, _, said) = page.ask(method, path, headers, "{}").await?;
        ensure!(found == *code, "{headers}: {found} {said}");
        orders += usize::from(found == 200);
    }
    for (body, code) in [("", 400), ("7", 400), (r#"{"too":"b"}"#, 400), (&" ".repeat(5000)[..], 413)] {
        let (found, _, said) = page.ask("POST", "/api/failover", bearer, body).await?;
        ensure!(found == code, "{body}: {found} {said}");
    }
    ensure!(page.orders() == orders, "{} orders", page.orders());

    let closed = Page::new(WebConfig { actions: false, ..config() });
    let (found, _, _) = closed.ask("POST", "/api/failover", bearer, "{}").await?;
    ensure!(found == 403 && closed.orders() == 0, "{found}");
    Ok(())
}

#[tokio::test]
async fn a_session_is_as_good_as_the_token_and_ends() -> Result<()> {
    let page = Page::new(config());
    let session = page.log_in().await?;
    let cookie = format!("cookie: other=1; {session}");
    page.expect(&[("GET", "/", &cookie, 200), ("GET", "/api/status", &cookie, 200)], "10.77.0.1:7781")
        .await?;
    let (until, mac) = session.split_once('.').context("a session")?;
    let longer = format!("cookie: {until}0.{mac}");
    page.expect(&[("GET", "/api/status", &longer, 401)], "10.77.0.1:7781").await?;

    let form = "host: a:1\nsec-fetch-site: same-origin";
    let (code, headers, _) = page.ask("POST", "/login", form, "token=wrong").await?;
    ensure!(code == 303 && headers["location"] == "/login?wrong" && !headers.contains_key("set-cookie"));
    let (code, ..) =
        page.ask("POST", "/login", "host: a:1\nsec-fetch-site: cross-site", &form_of_token()).await?;
    ensure!(code == 403, "{code}");
    let (code, headers, _) = page.ask("POST", "/logout", form, "").await?;
    ensure!(code == 303 && headers["set-cookie"].to_str()?.contains("Max-Age=0"), "{headers:?}");

    let secure = Page { from: "10.77.0.8:40000".parse()?, ..page };
    let (_, headers, _) =
        secure.ask("POST", "/login", &format!("{form}\nx-forwarded-proto: https"), &form_of_token()).await?;
    let cookie = headers["set-cookie"].to_str()?;
    ensure!(cookie.starts_with("__Host-ha-agent=") && cookie.contains("Secure;"), "{cookie}");
    Ok(())
}

#[tokio::test]
async fn browsers_are_told_what_not_to_do() -> Result<()> {
    let page = Page::new(config());
    for path in ["/", "/login", "/assets/app.js", "/api/status", "/nothing"] {
        let (_, headers, _) = page.ask("GET", path, "", "").await?;
        let policy = headers["content-security-policy"].to_str()?;
        ensure!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        ensure!(!policy.contains("unsafe"), "{policy}");
        ensure!(headers["x-content-type-options"] == "nosniff" && headers.contains_key("cache-control"));
    }
    let (_, headers, _) = page.ask("GET", "/assets/style.css", "", "").await?;
    let tag = format!("if-none-match: {}", headers["etag"].to_str()?);
    page.expect(&[("GET", "/assets/style.css", &tag, 304)], "10.77.0.1:7781").await
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() -> Result<()> {
    let page = Page::new(config());
    let bearer = "authorization: Bearer xxxxxxxxxxxxxxxxxxxx";
    let (_, headers, text) = page.ask("GET", "/metrics", bearer, "").await?;
    ensure!(
        headers["content-type"].to_str()?.starts_with("text/plain; version=0.0.4") && !text.contains("# EOF")
    );
    let open = format!("{bearer}\naccept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    let (_, headers, text) = page.ask("GET", "/metrics", &open, "").await?;
    ensure!(headers["content-type"].to_str()?.starts_with("application/openmetrics-text"));
    ensure!(text.ends_with("# EOF\n"), "{text}");
    Ok(())
}

/// The page, and somebody who asks for it.
struct Page {
    known: Arc<Known>,
    config: WebConfig,
    from: SocketAddr,
}

impl Page {
    fn new(config: WebConfig) -> Self {
        let known = Arc::new(Known::default());
        let source = Arc::clone(&known);
        tokio::spawn(async move { source.views.run(&*source).await });
        Self { known, config, from: ([10, 77, 0, 9], 40000).into() }
    }

    /// Asks: headers are lines. Returns code, headers and body.
    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Result<(u16, HeaderMap, String)> {
        self.ask_at("10.77.0.1:7781", method, path, headers, body).await
    }

    async fn ask_at(
        &self,
        to: &str,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Result<(u16, HeaderMap, String)> {
        let mut request = Request::builder().method(method).uri(path);
        for line in headers.lines() {
            let (name, value) = line.split_once(": ").context("a header")?;
            request = request.header(name, value);
        }
        let mut request = request.body(Body::from(body.to_owned()))?;
        request.extensions_mut().insert(Visitor { from: self.from, to: to.parse()? });
        let service = TowerToHyperService::new(router(self.config.clone(), Arc::clone(&self.known)));
        let response = service.call(request).await?;
        let (parts, body) = response.into_parts();
        let is_endless = parts.headers.get("content-type").is_some_and(|kind| kind == "application/x-ndjson");
        let body = if is_endless { Vec::new().into() } else { to_bytes(body, 1 << 20).await? };
        Ok((parts.status.as_u16(), parts.headers, String::from_utf8_lossy(&body).into_owned()))
    }

    async fn expect(&self, table: &[(&str, &str, &str, u16)], to: &str) -> Result<()> {
        for (method, path, headers, code) in table {
            let (found, _, said) = self.ask_at(to, method, path, headers, "").await?;
            ensure!(found == *code, "{method} {path} {headers:?}: {found} {said}");
        }
        Ok(())
    }

    /// Says the token to the form. Returns the cookie.
    async fn log_in(&self) -> Result<String> {
        let headers = "host: a:1\nsec-fetch-site: same-origin";
        let (code, headers, said) = self.ask("POST", "/login", headers, &form_of_token()).await?;
        let cookie = headers.get("set-cookie").with_context(|| format!("{code} {said}"))?.to_str()?;
        ensure!(cookie.contains("HttpOnly; SameSite=Strict") && headers["location"] == "/", "{cookie}");
        Ok(cookie.split(';').next().unwrap_or_default().to_owned())
    }

    fn orders(&self) -> usize {
        self.known.orders.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Everything is on.
fn config() -> WebConfig {
    WebConfig {
        listen: Vec::new(),
        token: Some(Token::of(TOKEN)),
        trust: Some(Trust { header: "X-Remote-User".to_owned(), proxies: vec![[10, 77, 0, 8].into()] }),
        hosts: vec!["ha.example.org".to_owned()],
        actions: true,
    }
}

fn form_of_token() -> String {
    format!("token={TOKEN}")
}

const TOKEN: &str = "xxxxxxxxxxxxxxxxxxxx";
