//! Requests to one member of etcd: one at a time, each bounded in time and in the length of its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{RootCertStore, version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use super::error::{FileProblemShown, WitnessError, WitnessFileError};
use crate::config::{TlsFiles, Url, file};

/// A connection to one member; closed when dropped.
#[derive(Debug)]
pub(super) struct Connection {
    url: Url,
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Connection {
    /// Opens it; `tls` is needed where the URL says so.
    pub(super) async fn open(url: Url, tls: Option<&Arc<ClientConfig>>) -> Result<Self, WitnessError> {
        let unreachable = |cause| WitnessError::Unreachable { url, cause };
        let stream = TcpStream::connect(url.address).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        match tls.filter(|_| url.tls) {
            Some(tls) => {
                let name = ServerName::from(url.address.ip()).to_owned();
                let connecting = TlsConnector::from(Arc::clone(tls)).connect(name, stream);
                let stream = connecting.await.map_err(|cause| WitnessError::Untrusted { url, cause })?;
                Self::over(url, stream).await
            }
            None => Self::over(url, stream).await,
        }
    }

    async fn over<S>(url: Url, stream: S) -> Result<Self, WitnessError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let opened = http1::Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = opened.map_err(|cause| WitnessError::Broken { url, cause })?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer is told.
            let _ = connection.await;
        });
        Ok(Self { url, sender, driver: driver.abort_handle() })
    }

    /// Whether it is of no use any more.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends JSON and returns what comes back.
    pub(super) async fn post(
        &mut self,
        path: &str,
        json: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), WitnessError> {
        let url = self.url;
        let broken = |cause| WitnessError::Broken { url, cause };
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, url.address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(json)))
            .map_err(|error| WitnessError::NotEtcd { url, what: error.to_string() })?;
        self.sender.ready().await.map_err(broken)?;
        let answer = self.sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return WitnessError::TooLong { url, limit: BODY };
            }
            match error.downcast::<hyper::Error>() {
                Ok(cause) => WitnessError::Broken { url, cause: *cause },
                Err(error) => WitnessError::NotEtcd { url, what: error.to_string() },
            }
        })?;
        Ok((status, body.to_bytes()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Gives up after `limit`.
pub(super) async fn within<T>(
    url: Url,
    limit: Duration,
    request: impl Future<Output = Result<T, WitnessError>>,
) -> Result<T, WitnessError> {
    tokio::time::timeout(limit, request).await.unwrap_or(Err(WitnessError::Late { url, limit }))
}

/// How this node proves who it is, and whom it accepts: those that `ca` vouches for, at their address.
pub(super) fn tls(files: &TlsFiles) -> Result<Arc<ClientConfig>, WitnessFileError> {
    let TlsFiles { ca, own } = files;
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca_file", ca)? {
        roots.add(certificate).map_err(content("ca_file", ca, CERTIFICATE))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .map_err(content("ca_file", ca, CERTIFICATE))?
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = certificates("cert_file", cert)?;
            let contents = read("key_file", key)?;
            let private = PrivateKeyDer::from_pem_slice(&contents.bytes);
            let private = private.map_err(content("key_file", key, PRIVATE_KEY))?;
            builder.with_client_auth_cert(chain, private).map_err(content("key_file", key, PRIVATE_KEY))?
        }
    };
    // A connection lasts; what is kept for the next one would only take memory.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn certificates(
    key: &'static str,
    path: &std::path::Path,
) -> Result<Vec<CertificateDer<'static>>, WitnessFileError> {
    let contents = read(key, path)?;
    let found = CertificateDer::pem_slice_iter(&contents.bytes).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(content(key, path, CERTIFICATE))?;
    if found.is_empty() { Err(content(key, path, CERTIFICATE)("there is none")) } else { Ok(found) }
}

fn read(key: &'static str, path: &std::path::Path) -> Result<file::Contents, WitnessFileError> {
    file::read(path, FILE).map_err(|problem| {
        let problem = FileProblemShown(problem);
        WitnessFileError::File { key, path: path.into(), problem }
    })
}

fn content<E: ToString>(
    key: &'static str,
    path: &std::path::Path,
    what: &'static str,
) -> impl Fn(E) -> WitnessFileError {
    move |why| WitnessFileError::Content { key, path: path.into(), what, why: why.to_string() }
}

const CERTIFICATE: &str = "certificate";
const PRIVATE_KEY: &str = "private key";
/// Bytes of an answer: etcd's are a few hundred, and an error may come with many words.
const BODY: usize = 1 << 16;
/// Bytes of an answer's head, at most.
const BUFFER: usize = 1 << 14;
/// Bytes of a file: a few certificates.
const FILE: usize = 1 << 18;
