//! Something that listens where etcd should.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// What it does when it is asked.
pub(super) enum Answer {
    Status(u16, String),
    /// These bytes, and the end.
    Raw(Vec<u8>),
    Silence,
    /// A good head, and then a byte now and then.
    Drip,
    /// A body without an end.
    Endless,
}

impl Answer {
    pub(super) fn json(body: impl Into<String>) -> Self {
        Self::Status(200, body.into())
    }
}

/// It is gone when dropped.
pub(super) struct Fake {
    pub(super) address: SocketAddr,
    counts: Arc<[AtomicUsize; 2]>,
    task: AbortHandle,
}

impl Fake {
    /// Answers what the path and the request say.
    pub(super) async fn start(respond: impl Fn(&str, Value) -> Answer + Send + Sync + 'static) -> Self {
        Self::listen(None, respond).await
    }

    pub(super) async fn start_tls(
        config: rustls::ServerConfig,
        respond: impl Fn(&str, Value) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Some(TlsAcceptor::from(Arc::new(config))), respond).await
    }

    async fn listen(
        tls: Option<TlsAcceptor>,
        respond: impl Fn(&str, Value) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let (counted, respond) = (Arc::clone(&counts), Arc::new(respond));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted[0].fetch_add(1, Ordering::Relaxed);
                let (counted, respond, tls) = (Arc::clone(&counted), Arc::clone(&respond), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        // Who is not believed is left.
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &*respond, &counted[1]).await,
                            Err(_) => None,
                        },
                        None => serve(stream, &*respond, &counted[1]).await,
                    }
                });
            }
        });
        Self { address, counts, task: task.abort_handle() }
    }

    pub(super) fn connections(&self) -> usize {
        self.counts[0].load(Ordering::Relaxed)
    }

    pub(super) fn requests(&self) -> usize {
        self.counts[1].load(Ordering::Relaxed)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Until the other side has gone.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    respond: &(impl Fn(&str, Value) -> Answer + ?Sized),
    requests: &AtomicUsize,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await.ok()?;
            let Some((name, value)) = header.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        requests.fetch_add(1, Ordering::Relaxed);
        match respond(&path, serde_json::from_slice(&body).ok()?) {
            Answer::Status(status, body) => {
                let head = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await.ok()?;
            }
            Answer::Raw(bytes) => return stream.write_all(&bytes).await.ok(),
            Answer::Silence => std::future::pending().await,
            Answer::Drip => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await.ok()?;
                loop {
                    stream.write_all(b" ").await.ok()?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Answer::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.ok()?;
                let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
                loop {
                    stream.write_all(chunk.as_bytes()).await.ok()?;
                }
            }
        }
    }
}
