//! What was said on a connection: what it can have done at most.

use std::net::IpAddr;

use super::script::Words;

/// All of it.
pub(super) struct Said<'a> {
    bytes: Vec<u8>,
    /// In small letters.
    small: Vec<u8>,
    words: &'a Words<'a>,
}

impl<'a> Said<'a> {
    pub(super) fn new(bytes: Vec<u8>, words: &'a Words<'a>) -> Self {
        let small = bytes.to_ascii_lowercase();
        Self { bytes, small, words }
    }

    /// How often the token stands there,
    pub(super) fn tokens(&self) -> usize {
        count(&self.bytes, self.words.token)
    }

    /// a session,
    pub(super) fn cookies(&self) -> usize {
        count(&self.bytes, self.words.cookie)
    }

    /// a name that a reverse proxy says,
    pub(super) fn names(&self) -> usize {
        count(&self.small, b"x-remote-user:")
    }

    /// and a login.
    pub(super) fn logins(&self) -> usize {
        count(&self.bytes, b"POST /login")
    }

    /// How many orders that can be, if so many requests say who asks, and so many are of no browser's.
    pub(super) fn orders(&self, known: usize, no_browser: usize) -> usize {
        let own = count(&self.small, b"same-origin") + count(&self.small, b"origin:") + no_browser;
        let parts = [&b"POST "[..], b"/api/failover"].map(|part| count(&self.bytes, part));
        let json = count(&self.small, b"application/json");
        parts.into_iter().chain([known, own, json]).min().unwrap_or(0)
    }

    /// Whether there is one head, which is the first thing that is said.
    pub(super) fn is_one_request(&self) -> bool {
        count(&self.bytes, b"HTTP/1.") == 1
    }

    /// Whether the one request is from the page itself, as the browser says.
    pub(super) fn is_from_own_page(&self) -> bool {
        match (self.header("sec-fetch-site"), self.header("origin"), self.header("host")) {
            (Some(site), _, _) => site == "same-origin",
            (None, Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, it)| it == host),
            (None, _, _) => false,
        }
    }

    /// Whether no browser made the one request, which has the token.
    pub(super) fn is_from_no_page(&self) -> bool {
        let token = String::from_utf8_lossy(self.words.token).to_ascii_lowercase();
        let is_known =
            self.header("authorization").is_some_and(|it| it.starts_with("bearer ") && it.ends_with(&token));
        let is_browsers = self.header("sec-fetch-site").or_else(|| self.header("origin")).is_some();
        is_known && !is_browsers
    }

    /// Whether it is said to be for a name of loopback anywhere.
    pub(super) fn names_loopback(&self) -> bool {
        let mut hosts =
            lines(&self.small).filter_map(|line| Some(line.strip_prefix("host:")?.trim().to_owned()));
        hosts.any(|host| {
            let end = host.rfind(']').map_or_else(|| host.rfind(':'), |end| Some(end + 1));
            let name = host[..end.unwrap_or(host.len())].trim_end_matches('.');
            let address = name.trim_matches(['[', ']']);
            ["localhost", "ha.example.org"].contains(&name) || address.parse::<IpAddr>().is_ok()
        })
    }

    /// The value of the first header of this name in the one request, in small letters.
    fn header(&self, name: &str) -> Option<String> {
        let head = lines(&self.small).skip_while(String::is_empty).take_while(|line| !line.is_empty());
        let mut headers = head.filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim().to_owned()))
        });
        headers.find(|(found, _)| found == name).map(|(_, value)| value)
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes
        .split(|byte| *byte == b'\n')
        .map(|line| String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned())
}

fn count(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).filter(|found| *found == wanted).count()
}
