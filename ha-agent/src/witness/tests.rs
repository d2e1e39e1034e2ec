//! A witness that is slow, endless, confused, somebody else, or not there at all; and one that does as etcd does.

mod fake;
mod keeping;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use self::fake::{Answer, Fake};
use super::error::{WitnessError, WitnessFileError};
use super::etcd::Etcd;
use super::http;
use crate::config::{TlsFiles, Url};

#[tokio::test]
async fn who_does_not_answer_is_given_up_in_time() {
    let fake = Fake::start(|_, _| Answer::Silence).await;
    let began = Instant::now();
    let error = plain(&[fake.address]).grant(SECOND * 3).await.expect_err("nobody answers");
    assert!(matches!(error, WitnessError::Late { .. }), "{error}");
    let took = began.elapsed();
    assert!((LIMIT..LIMIT * 5).contains(&took), "{took:?}");
}

#[tokio::test]
async fn an_answer_that_comes_byte_by_byte_is_given_up_too() {
    let fake = Fake::start(|_, _| Answer::Drip).await;
    let error = plain(&[fake.address]).grant(SECOND * 3).await.expect_err("it is too slow");
    assert!(matches!(error, WitnessError::Late { .. }), "{error}");
}

#[tokio::test]
async fn no_more_is_read_of_an_answer_than_it_can_have() {
    for answer in [|| Answer::Endless, || Answer::json("x".repeat(1 << 17))] {
        let fake = Fake::start(move |_, _| answer()).await;
        let error = plain(&[fake.address]).grant(SECOND * 3).await.expect_err("it is too long");
        assert!(matches!(error, WitnessError::TooLong { limit: 65536, .. }), "{error}");
    }
    // A head without an end.
    let fake = Fake::start(|_, _| Answer::Raw(vec![b'H'; 1 << 20])).await;
    let error = plain(&[fake.address]).grant(SECOND * 3).await.expect_err("it is no head");
    assert!(matches!(error, WitnessError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn what_is_not_etcds_is_named() {
    let bodies = [
        "",
        "hello",
        "[]",
        "{}",
        "{\"ID\":\"x\",\"TTL\":\"3\"}",
        "{\"ID\":\"1\",\"TTL\":\"-3\"}",
        "{\"ID\":{}}",
    ];
    for body in bodies {
        let fake = Fake::start(move |_, _| Answer::json(body)).await;
        let error = plain(&[fake.address]).grant(SECOND * 3).await.expect_err("it makes no sense");
        assert!(matches!(error, WitnessError::NotEtcd { .. }), "{body:?}: {error}");
        assert!(error.to_string().lines().count() == 1, "{error}");
    }
    let fake = Fake::start(|_, _| Answer::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())).await;
    let error = plain(&[fake.address]).grant(SECOND * 3).await.expect_err("it is no HTTP");
    assert!(matches!(error, WitnessError::Broken { .. }), "{error}");
    let told = error.to_string();
    assert!(told.contains("broke the connection: ") && told.lines().count() == 1, "{told}");
    let fake = Fake::start(|_, _| Answer::Raw(Vec::new())).await;
    let error = plain(&[fake.address]).grant(SECOND * 3).await.expect_err("it says nothing");
    assert!(matches!(error, WitnessError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn a_refusal_is_told_with_its_words_in_one_line() {
    let fake =
        Fake::start(|_, _| Answer::Status(401, "{\"error\":\"etcdserver: user name is empty\"}".into()))
            .await;
    let error = plain(&[fake.address]).grant(SECOND * 3).await.expect_err("a refusal");
    assert!(matches!(error, WitnessError::Forbidden { status: 401, .. }), "{error}");
    let words = format!("{{\"error\":\"etcdserver:\\nno leader{}\"}}", "!".repeat(1000));
    let fake = Fake::start(move |_, _| Answer::Status(503, words.clone())).await;
    let error = plain(&[fake.address]).grant(SECOND * 3).await.expect_err("a refusal").to_string();
    assert!(error.contains("HTTP 503") && error.contains("etcdserver:\\nno leader!"), "{error}");
    assert!(error.lines().count() == 1 && error.len() < 400, "{error}");
}

#[tokio::test]
async fn the_next_member_is_asked_where_one_is_not_there() {
    let refused = nowhere();
    let error = plain(&[refused]).grant(SECOND * 3).await.expect_err("nobody is there");
    assert!(matches!(error, WitnessError::Unreachable { .. }), "{error}");
    let no_leader = Fake::start(|_, _| Answer::Status(503, String::new())).await;
    let good = Fake::start(|_, _| Answer::json("{\"ID\":\"7\",\"TTL\":\"3\"}")).await;
    let mut etcd = plain(&[refused, no_leader.address, good.address]);
    for _ in 0..3 {
        etcd.grant(SECOND * 3).await.expect("a lease");
    }
    assert_eq!(etcd.current().map(|url| url.address), Some(good.address), "it stays there");
    assert_eq!((no_leader.requests(), good.requests()), (1, 3));
    assert_eq!(good.connections(), 1, "one connection is enough");
}

#[tokio::test]
async fn only_whom_the_right_authority_vouches_for_at_this_address_is_spoken_to() {
    let (ours, others) = (Authority::new(), Authority::new());
    let good = "{\"ID\":\"7\",\"TTL\":\"3\"}";
    for (authority, name, expected) in [
        (&ours, "127.0.0.1", true),
        (&ours, "127.0.0.2", false),
        (&ours, "localhost", false),
        (&others, "127.0.0.1", false),
    ] {
        let fake = Fake::start_tls(authority.server(name), move |_, _| Answer::json(good)).await;
        let tls = http::tls(&TlsFiles { ca: ours.path(), own: None }).expect("good files");
        let url = Url { tls: true, address: fake.address };
        let result = Etcd::new(vec![url], Some(tls), LIMIT).grant(SECOND * 3).await;
        match result {
            Ok(_) => assert!(expected, "{name} is believed"),
            Err(error) => {
                assert!(!expected && matches!(error, WitnessError::Untrusted { .. }), "{name}: {error}");
            }
        }
    }
    // One that does not speak TLS at all.
    let fake = Fake::start(move |_, _| Answer::json(good)).await;
    let tls = http::tls(&TlsFiles { ca: ours.path(), own: None }).expect("good files");
    let url = Url { tls: true, address: fake.address };
    let error = Etcd::new(vec![url], Some(tls), LIMIT).grant(SECOND * 3).await.expect_err("no TLS");
    assert!(matches!(error, WitnessError::Untrusted { .. } | WitnessError::Late { .. }), "{error}");
}

#[test]
fn files_that_can_not_be_used_are_named_with_their_key() {
    let authority = Authority::new();
    let path = |name: &str| authority.directory.path().join(name);
    std::fs::write(path("empty.pem"), "").expect("a file");
    std::fs::write(path("broken.pem"), "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n")
        .expect("a file");
    let key = KeyPair::generate().expect("a key");
    std::fs::write(path("key.pem"), key.serialize_pem()).expect("a file");
    let (ca, other) = (authority.path(), path("key.pem"));
    let table = [
        (TlsFiles { ca: path("no.pem"), own: None }, "ca_file"),
        (TlsFiles { ca: path("empty.pem"), own: None }, "ca_file"),
        (TlsFiles { ca: path("broken.pem"), own: None }, "ca_file"),
        (TlsFiles { ca: ca.clone(), own: Some((path("empty.pem"), other.clone())) }, "cert_file"),
        (TlsFiles { ca: ca.clone(), own: Some((ca.clone(), path("empty.pem"))) }, "key_file"),
        // The key of another certificate.
        (TlsFiles { ca: ca.clone(), own: Some((ca, other)) }, "key_file"),
    ];
    for (files, expected) in table {
        let error = http::tls(&files).expect_err("a refusal");
        let (WitnessFileError::File { key, .. } | WitnessFileError::Content { key, .. }) = &error;
        assert_eq!(*key, expected, "{error}");
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
}

/// Whoever vouches for certificates, its own in a file.
struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        std::fs::write(directory.path().join("ca.pem"), pem).expect("a file");
        Self { directory, issuer: Issuer::new(params, key) }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    fn server(&self, name: &str) -> rustls::ServerConfig {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let chain = vec![params.signed_by(&key, &self.issuer).expect("a certificate").der().clone()];
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate and its key")
    }
}

fn plain(addresses: &[SocketAddr]) -> Etcd {
    let urls = addresses.iter().map(|address| Url { tls: false, address: *address }).collect();
    Etcd::new(urls, None, LIMIT)
}

/// Where nobody listens.
fn nowhere() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

const LIMIT: Duration = Duration::from_millis(400);
const SECOND: Duration = Duration::from_secs(1);
