//! Who a node is: a random number, a name, a key, and a certificate that ties them together.
//!
//! The certificate is self-signed, and pinned by the other node: nobody else vouches for it, and it does not expire, so
//! that a clock that is wrong cuts no link.

use std::fmt;
use std::io;
use std::str::FromStr;

use pem::Pem;
use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, SerialNumber};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::ParsedCertificate;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

/// The number of a node, 128 random bits. It stays when the key is changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId([u8; 16]);

impl NodeId {
    /// A new one.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers.
    pub fn random() -> Result<Self, IdentityError> {
        random().map(Self)
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

impl FromStr for NodeId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let valid = text.len() == 32 && text.bytes().all(is_digit);
        let number = valid.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(|number| Self(number.to_be_bytes())).ok_or(IdentityError::Number)
    }
}

impl TryFrom<String> for NodeId {
    type Error = IdentityError;

    fn try_from(text: String) -> Result<Self, IdentityError> {
        text.parse()
    }
}

impl From<NodeId> for String {
    fn from(id: NodeId) -> Self {
        id.to_string()
    }
}

/// A node's certificate, with what it says.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    id: NodeId,
    name: String,
}

impl Certificate {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    ///
    /// If it is none, or not one that an ha-agent makes.
    pub fn from_der(der: &[u8]) -> Result<Self, IdentityError> {
        if der.len() > CERTIFICATE_LIMIT {
            return Err(IdentityError::Certificate);
        }
        let der = CertificateDer::from(der.to_vec());
        // What the handshake reads is another reader's work: it must agree.
        ParsedCertificate::try_from(&der).map_err(|_| IdentityError::Certificate)?;
        let (id, name) = {
            let (rest, parsed) = X509Certificate::from_der(&der).map_err(|_| IdentityError::Certificate)?;
            let subject = parsed.subject();
            let name = only(subject.iter_common_name()).ok_or(IdentityError::Certificate)?;
            let id = only(subject.iter_by_oid(&x509_parser::oid_registry::OID_X509_SERIALNUMBER));
            let id = id.ok_or(IdentityError::Certificate)?.parse()?;
            if !rest.is_empty() || !is_name(name) {
                return Err(IdentityError::Certificate);
            }
            (id, name.to_owned())
        };
        Ok(Self { der, id, name })
    }

    /// Reads the one certificate in a PEM file.
    ///
    /// # Errors
    ///
    /// If there is none, or something else.
    pub fn from_pem(text: &[u8]) -> Result<Self, IdentityError> {
        let parts = pem::parse_many(text).map_err(|_| IdentityError::Pem)?;
        match parts.as_slice() {
            [part] if part.tag() == CERTIFICATE => Self::from_der(part.contents()),
            _ => Err(IdentityError::Pem),
        }
    }

    /// As a PEM file.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode(&Pem::new(CERTIFICATE, self.der.to_vec()))
    }

    /// The bytes that are pinned.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The node's number.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The node's name when the certificate was made: 1 to 64 printable ASCII characters, no space.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the whole certificate, in hexadecimal, as `openssl x509 -fingerprint -sha256` has it but for the colons.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        Hex(&Sha256::digest(&self.der)).to_string()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} {} {})", self.name, self.id, self.fingerprint())
    }
}

/// A node's certificate and the key to it. The key is never shown.
#[derive(Debug)]
pub struct Identity {
    certificate: Certificate,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Identity {
    /// Makes a key (ECDSA, P-256) and a certificate.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers, or the name is none.
    pub fn generate(name: &str, id: NodeId) -> Result<Self, IdentityError> {
        let key = KeyPair::generate().map_err(IdentityError::Generate)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::CustomDnType(SERIAL_NUMBER.to_vec()), id.to_string());
        // The first bit would make it negative.
        let serial: [u8; 16] = random()?;
        params.serial_number = Some(SerialNumber::from(serial.map(|byte| byte & 0x7f).to_vec()));
        params.is_ca = IsCa::ExplicitNoCa;
        let certificate = params.self_signed(&key).map_err(IdentityError::Generate)?;
        Ok(Self {
            certificate: Certificate::from_der(certificate.der())?,
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        })
    }

    /// Reads the key and the certificate in a PEM file.
    ///
    /// # Errors
    ///
    /// If they are not both there, or do not belong together.
    pub fn from_pem(text: &[u8]) -> Result<Self, IdentityError> {
        let parts = pem::parse_many(text).map_err(|_| IdentityError::Pem)?;
        let (key, certificate) = match parts.as_slice() {
            [key, certificate] if key.tag() == KEY && certificate.tag() == CERTIFICATE => (key, certificate),
            _ => return Err(IdentityError::Pem),
        };
        let identity = Self {
            certificate: Certificate::from_der(certificate.contents())?,
            key: PrivatePkcs8KeyDer::from(key.contents().to_vec()),
        };
        let signing = rustls::crypto::ring::sign::any_ecdsa_type(&identity.key.clone_key().into())
            .map_err(|_| IdentityError::Key)?;
        let certified = rustls::sign::CertifiedKey::new(vec![identity.certificate.der.clone()], signing);
        certified.keys_match().map_err(|_| IdentityError::Key)?;
        Ok(identity)
    }

    /// As a PEM file.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(pem::encode(&Pem::new(KEY, self.key.secret_pkcs8_der())));
        Zeroizing::new(format!("{}{}", key.as_str(), self.certificate.to_pem()))
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The key, for the handshake.
    #[must_use]
    pub fn key(&self) -> PrivatePkcs8KeyDer<'static> {
        self.key.clone_key()
    }
}

/// Why there is no identity. Reads on after the name of the file.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not a file of ours.
    #[error("is not the PEM file that ha-agent wrote")]
    Pem,
    /// Not a certificate of ours.
    #[error("has no certificate of an ha-agent")]
    Certificate,
    /// A node's number is something else.
    #[error("has a certificate without a node's number")]
    Number,
    /// Key and certificate.
    #[error("has a key that does not belong to its certificate")]
    Key,
    /// It could not be made.
    #[error("could not be made: {0}")]
    Generate(#[source] rcgen::Error),
    /// No random numbers.
    #[error("could not be made, the system has no random numbers: {0}")]
    Random(#[source] io::Error),
}

/// Bytes in hexadecimal.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Whether this can be a node's name, by the rule of the configuration.
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The one attribute, as text.
fn only<'a>(
    mut attributes: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>,
) -> Option<&'a str> {
    let first = attributes.next()?.as_str().ok()?;
    attributes.next().is_none().then_some(first)
}

fn random() -> Result<[u8; 16], IdentityError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| IdentityError::Random(io::Error::other(error)))?;
    Ok(bytes)
}

/// Bytes of a certificate: ours have fewer than 600.
pub(super) const CERTIFICATE_LIMIT: usize = 4096;
const CERTIFICATE: &str = "CERTIFICATE";
const KEY: &str = "PRIVATE KEY";
/// `id-at-serialNumber` (X.520), which is not the certificate's serial number.
const SERIAL_NUMBER: [u64; 4] = [2, 5, 4, 5];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_made_comes_back_from_its_file() {
        let id = NodeId::random().unwrap();
        for name in ["a", "controller-a", "\"<>&;=,+#\\", &"n".repeat(64)] {
            let made = Identity::generate(name, id).unwrap();
            let read = Identity::from_pem(made.to_pem().as_bytes()).unwrap();
            assert_eq!(read.certificate(), made.certificate());
            assert_eq!(read.key(), made.key());
            assert_eq!((read.certificate().name(), read.certificate().id()), (name, id));
            let pinned = made.certificate().to_pem();
            assert_eq!(Certificate::from_pem(pinned.as_bytes()).unwrap(), *made.certificate());
        }
    }

    #[test]
    fn no_two_are_alike() {
        let id = NodeId::random().unwrap();
        assert_ne!(id, NodeId::random().unwrap());
        let [a, b] = [(); 2].map(|()| Identity::generate("a", id).unwrap());
        assert_ne!(a.certificate(), b.certificate());
        assert_ne!(a.key(), b.key());
    }

    #[test]
    fn names_that_no_configuration_has_are_refused() {
        for name in ["", " ", "a b", "é", "a\n", &"n".repeat(65)] {
            assert!(Identity::generate(name, NodeId::random().unwrap()).is_err(), "{name:?}");
        }
    }

    #[test]
    fn files_that_are_not_ours_are_refused() {
        let id = NodeId::random().unwrap();
        let (a, b) = (Identity::generate("a", id).unwrap(), Identity::generate("a", id).unwrap());
        let (a_pem, a_cert, b_cert) =
            (a.to_pem().to_string(), a.certificate().to_pem(), b.certificate().to_pem());
        let a_key = a_pem.strip_suffix(&a_cert).unwrap();
        for text in [
            "",
            "nonsense",
            a_key,
            &a_cert,
            &format!("{a_cert}{a_key}"),
            &format!("{a_key}{b_cert}"),
            &format!("{a_pem}{a_cert}"),
            &a_pem.replace("PRIVATE KEY", "EC PRIVATE KEY"),
        ] {
            assert!(Identity::from_pem(text.as_bytes()).is_err(), "{text}");
        }
        for text in ["", a_pem.as_str(), &format!("{a_cert}{b_cert}")] {
            assert!(Certificate::from_pem(text.as_bytes()).is_err(), "{text}");
        }
        let foreign = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        assert!(Certificate::from_der(foreign.cert.der()).is_err());
    }

    #[test]
    fn a_key_is_not_in_debug_output() {
        let made = Identity::generate("a", NodeId::random().unwrap()).unwrap();
        let debug = format!("{made:?}");
        let secret = format!("{:?}", made.key().secret_pkcs8_der());
        assert!(!debug.contains(secret.trim_matches(['[', ']'])), "{debug}");
    }

    proptest! {
        #[test]
        fn a_certificate_with_other_bytes_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), end in any::<prop::sample::Index>()) {
            let made = Identity::generate("a", NodeId::random().unwrap()).unwrap();
            let mut der = made.certificate().der().to_vec();
            let at = at.index(der.len());
            der[at] = byte;
            let _ = Certificate::from_der(&der);
            let end = end.index(der.len());
            prop_assert!(Certificate::from_der(&der[..end]).is_err());
        }

        #[test]
        fn any_number_comes_back(bytes in any::<[u8; 16]>(), text in "[0-9a-fA-F+ ]{0,34}") {
            let id = NodeId(bytes);
            prop_assert_eq!(id.to_string().parse::<NodeId>().unwrap(), id);
            if let Ok(id) = text.parse::<NodeId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
