//! Asking an agent's page, as a program or a browser does.

mod audience;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

pub use audience::Audience;

use crate::netns::Netns;

/// A page at an address, as it is seen from a namespace.
#[derive(Debug)]
pub struct Page<'a> {
    netns: &'a Netns,
    address: SocketAddr,
    patience: Duration,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// 200, …
    pub code: u16,
    /// By their names in small letters.
    pub headers: BTreeMap<String, String>,
    /// All of it.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| self.body.clone())
    }
}

impl<'a> Page<'a> {
    /// Who looks, and where.
    #[must_use]
    pub fn new(netns: &'a Netns, address: SocketAddr) -> Self {
        Self { netns, address, patience: PATIENCE }
    }

    /// The same for somebody who waits longer for an answer.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// A connection on which nothing was said yet.
    ///
    /// # Errors
    ///
    /// If nobody listens.
    pub fn connect(&self) -> Result<TcpStream> {
        let address = self.address;
        let stream = self.netns.run(move || TcpStream::connect_timeout(&address, PATIENCE))??;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Somebody who asks for the snapshots and reads none, with little room for them.
    ///
    /// # Errors
    ///
    /// If nobody listens.
    pub fn deaf_to_events(&self) -> Result<TcpStream> {
        let address = self.address;
        let mut stream = self.netns.run(move || -> Result<TcpStream> {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            // Larger ones would take more than is sent meanwhile.
            socket.set_recv_buffer_size(4096)?;
            socket.connect_timeout(&address.into(), PATIENCE)?;
            Ok(socket.into())
        })??;
        stream.write_all(self.request("GET", "/api/events", "", "").as_bytes())?;
        Ok(stream)
    }

    /// Gets something, with more headers, each a line.
    ///
    /// # Errors
    ///
    /// If it is not answered.
    pub fn get(&self, path: &str, headers: &str) -> Result<Answer> {
        self.ask("GET", path, headers, "")
    }

    /// Posts something.
    ///
    /// # Errors
    ///
    /// If it is not answered.
    pub fn post(&self, path: &str, headers: &str, body: &str) -> Result<Answer> {
        self.ask("POST", path, headers, body)
    }

    /// The snapshots as they come.
    ///
    /// # Errors
    ///
    /// If there are none to be had.
    pub fn events(&self, headers: &str) -> Result<Events> {
        let mut stream = self.connect()?;
        stream.write_all(self.request("GET", "/api/events", headers, "").as_bytes())?;
        let mut lines = BufReader::new(stream);
        let (code, headers) = head(&mut lines)?;
        ensure!(code == 200, "{code} {headers:?}");
        Ok(Events(lines))
    }

    /// Asks for something in any way.
    ///
    /// # Errors
    ///
    /// If it is not answered.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Result<Answer> {
        let mut stream = self.connect()?;
        let headers = format!("{headers}\nconnection: close");
        // It may have answered and gone before it heard all.
        let written = stream.write_all(self.request(method, path, &headers, body).as_bytes());
        let mut reader = BufReader::new(stream);
        let (code, headers) = head(&mut reader).with_context(|| format!("{method} {path}: {written:?}"))?;
        let mut body = String::new();
        if headers.get("transfer-encoding").is_some_and(|encoding| encoding == "chunked") {
            while let Some(chunk) = chunk(&mut reader)? {
                body.push_str(&String::from_utf8(chunk)?);
            }
        } else {
            match headers.get("content-length").map(|length| length.parse()).transpose()? {
                // Not everybody ends the connection.
                Some(length) => reader.take(length).read_to_string(&mut body)?,
                None => reader.read_to_string(&mut body)?,
            };
        }
        Ok(Answer { code, headers, body })
    }

    fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let mut lines = vec![format!("{method} {path} HTTP/1.1")];
        if !headers.to_lowercase().lines().any(|line| line.starts_with("host:")) {
            lines.push(format!("host: {}", self.address));
        }
        lines.extend(headers.lines().filter(|line| !line.is_empty()).map(str::to_owned));
        if !body.is_empty() || method == "POST" {
            lines.push(format!("content-length: {}", body.len()));
        }
        format!("{}\r\n\r\n{body}", lines.join("\r\n"))
    }
}

/// A stream of snapshots.
#[derive(Debug)]
pub struct Events(BufReader<TcpStream>);

impl Events {
    /// The next one.
    ///
    /// # Errors
    ///
    /// If none comes within some seconds.
    pub fn snapshot(&mut self) -> Result<Value> {
        let mut event = Vec::new();
        loop {
            event.extend(chunk(&mut self.0)?.context("the stream has ended")?);
            if let Some(text) = event.strip_suffix(b"\n\n") {
                match text.strip_prefix(b"data: ") {
                    Some(text) => return Ok(serde_json::from_slice(text)?),
                    None => event.clear(),
                }
            }
        }
    }

    /// Reads on until one is as wanted.
    ///
    /// # Errors
    ///
    /// If none of the next hundred is.
    pub fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        for _ in 0..100 {
            let status = self.snapshot()?;
            if wanted(&status) {
                return Ok(status);
            }
        }
        anyhow::bail!("not within a hundred snapshots")
    }
}

fn head(reader: &mut impl BufRead) -> Result<(u16, BTreeMap<String, String>)> {
    let first = line(reader)?;
    let code = first.split(' ').nth(1).with_context(|| format!("no answer but {first:?}"))?.parse()?;
    let mut headers = BTreeMap::new();
    loop {
        let line = line(reader)?;
        let Some((name, value)) = line.split_once(':') else { return Ok((code, headers)) };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
}

/// A part of a body that comes in parts; `None` at its end.
fn chunk(reader: &mut impl BufRead) -> Result<Option<Vec<u8>>> {
    let length = usize::from_str_radix(&line(reader)?, 16).context("the length of a chunk")?;
    let mut chunk = vec![0; length + 2];
    reader.read_exact(&mut chunk)?;
    chunk.truncate(length);
    Ok((length > 0).then_some(chunk))
}

fn line(reader: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

const PATIENCE: Duration = Duration::from_secs(5);
