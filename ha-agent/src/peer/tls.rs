//! TLS 1.3, both sides authenticated: each accepts the certificates that it has pinned, byte by byte, from whoever
//! proves to have the key. No authorities, no names, no dates, and nothing is resumed.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::identity::{Certificate, Identity};

/// How this node proves who it is, and whom it accepts.
#[derive(Clone)]
pub struct Tls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Tls {
    /// With this node's identity, for a peer that has one of a few certificates.
    ///
    /// # Errors
    ///
    /// If the key can't be used.
    pub fn new(identity: &Identity, pinned: &[Certificate]) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(Pinned::new(pinned, &provider));
        let chain = || vec![identity.certificate().der().clone()];
        let key = || PrivateKeyDer::from(identity.key());
        let versions = &[&rustls::version::TLS13];

        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>);
        let mut client = client.with_client_auth_cert(chain(), key())?;
        client.resumption = Resumption::disabled();
        client.enable_sni = false;

        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(verifier as Arc<dyn ClientCertVerifier>);
        let mut server = server.with_single_cert(chain(), key())?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }

    /// The handshake on a connection that this node has opened. That it succeeds does not say yet that the peer
    /// accepts this node: what it sends afterwards does.
    ///
    /// # Errors
    ///
    /// If the peer is another one, or the connection breaks.
    pub async fn connect<S>(&self, stream: S) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // Required by the library; it is neither sent nor compared.
        let name = ServerName::from(std::net::Ipv4Addr::UNSPECIFIED).to_owned();
        let connector = TlsConnector::from(Arc::clone(&self.client));
        connector.connect(name, stream).await.map(TlsStream::from)
    }

    /// The handshake on a connection that was accepted.
    ///
    /// # Errors
    ///
    /// If the peer is another one, or the connection breaks.
    pub async fn accept<S>(&self, stream: S) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.server));
        acceptor.accept(stream).await.map(TlsStream::from)
    }
}

/// The certificate that the peer has proven to be its own.
#[must_use]
pub fn proven<S>(stream: &TlsStream<S>) -> Option<CertificateDer<'static>> {
    let (_, connection) = stream.get_ref();
    connection.peer_certificates()?.first().map(|certificate| certificate.clone().into_owned())
}

/// Accepts a few certificates.
#[derive(Debug)]
struct Pinned {
    certificates: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn new(certificates: &[Certificate], provider: &CryptoProvider) -> Self {
        Self {
            certificates: certificates.iter().map(|certificate| certificate.der().clone()).collect(),
            algorithms: provider.signature_verification_algorithms,
        }
    }

    fn judge(&self, certificate: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<(), Error> {
        // It is no secret: nothing is learned from how long this takes.
        if more.is_empty() && self.certificates.contains(certificate) {
            Ok(())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    /// That the certificate is right is worth nothing without this.
    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustls::client::ResolvesClientCert;
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::identity::NodeId;
    use super::*;

    fn identity(name: &str) -> Identity {
        Identity::generate(name, NodeId::random().unwrap()).unwrap()
    }

    fn tls(own: &Identity, accepted: &[&Identity]) -> Tls {
        let accepted: Vec<_> = accepted.iter().map(|it| it.certificate().clone()).collect();
        Tls::new(own, &accepted).unwrap()
    }

    /// Whether each side has heard the other one.
    async fn meet(dialer: &Tls, listener: &Tls) -> (io::Result<()>, io::Result<()>) {
        async fn speak(stream: io::Result<TlsStream<tokio::io::DuplexStream>>) -> io::Result<()> {
            let mut stream = stream?;
            assert!(proven(&stream).is_some());
            stream.write_all(b"hello").await?;
            stream.flush().await?;
            stream.read_exact(&mut [0; 5]).await.map(drop)
        }
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::join!(async { speak(dialer.connect(near).await).await }, async {
            speak(listener.accept(far).await).await
        })
    }

    #[tokio::test]
    async fn only_those_meet_that_have_pinned_each_other() {
        let (a, b, next, stranger) = (identity("a"), identity("b"), identity("b"), identity("b"));
        let table = [
            (tls(&a, &[&b]), tls(&b, &[&a]), true),
            (tls(&a, &[&b, &next]), tls(&b, &[&a]), true),
            (tls(&a, &[&b, &next]), tls(&next, &[&a]), true),
            (tls(&a, &[&next]), tls(&b, &[&a]), false),
            (tls(&a, &[&b]), tls(&b, &[&stranger]), false),
            (tls(&a, &[&b]), tls(&stranger, &[&a]), false),
            (tls(&a, &[]), tls(&b, &[&a]), false),
            (tls(&a, &[&b]), tls(&b, &[]), false),
            (tls(&a, &[&b]), tls(&a, &[&b]), false),
        ];
        for (row, (one, other, expected)) in table.iter().enumerate() {
            for (dialer, listener) in [(one, other), (other, one)] {
                let (near, far) = meet(dialer, listener).await;
                assert_eq!(near.is_ok() && far.is_ok(), *expected, "row {row}: {near:?} {far:?}");
                // Not even one of them takes the other for its peer.
                assert_eq!(near.is_ok(), far.is_ok(), "row {row}: {near:?} {far:?}");
            }
        }
    }

    #[derive(Debug)]
    struct Nobody;

    impl ResolvesClientCert for Nobody {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            None
        }

        fn has_certs(&self) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn a_copied_certificate_is_worth_nothing_without_its_key() {
        let (a, b, thief) = (identity("a"), identity("b"), identity("a"));
        let key = ring::sign::any_ecdsa_type(&thief.key().into()).unwrap();
        let stolen = CertifiedKey::new(vec![a.certificate().der().clone()], key);
        let stolen = Arc::new(SingleCertAndKey::from(stolen));
        let mut thief = tls(&a, &[&b]);
        Arc::get_mut(&mut thief.client).unwrap().client_auth_cert_resolver =
            Arc::<SingleCertAndKey>::clone(&stolen);
        Arc::get_mut(&mut thief.server).unwrap().cert_resolver = stolen;
        let honest = tls(&b, &[&a]);
        for (dialer, listener) in [(&thief, &honest), (&honest, &thief)] {
            let (near, far) = meet(dialer, listener).await;
            assert!(near.is_err() && far.is_err(), "{near:?} {far:?}");
        }
    }

    #[tokio::test]
    async fn without_a_certificate_nobody_gets_in() {
        let (a, b) = (identity("a"), identity("b"));
        let mut nobody = tls(&a, &[&b]);
        Arc::get_mut(&mut nobody.client).unwrap().client_auth_cert_resolver = Arc::new(Nobody);
        let (near, far) = meet(&nobody, &tls(&b, &[&a])).await;
        assert!(near.is_err() && far.is_err(), "{near:?} {far:?}");
    }
}
