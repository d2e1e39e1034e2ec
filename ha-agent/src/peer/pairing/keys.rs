//! From a code that both know to keys that nobody else knows: SPAKE2, then HKDF.

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use spake2::{Ed25519Group, Identity, Password, Spake2};
use zeroize::Zeroizing;

use super::code::Code;

/// Which of the two a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// It shows the code, and listens.
    Host,
    /// It was told the code, and dials.
    Guest,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Host => Self::Guest,
            Self::Guest => Self::Host,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Guest => "guest",
        }
    }
}

/// An exchange that has begun.
pub(super) struct Exchange {
    side: Side,
    state: Spake2<Ed25519Group>,
    /// What this side sends.
    pub(super) sent: Vec<u8>,
}

impl Exchange {
    pub(super) fn begin(side: Side, code: &Code) -> Self {
        let password = Password::new(code.as_bytes());
        let name = |side: Side| Identity::new(format!("ha-agent pair {}", side.name()).as_bytes());
        let (host, guest) = (name(Side::Host), name(Side::Guest));
        let (state, sent) = match side {
            Side::Host => Spake2::start_a(&password, &host, &guest),
            Side::Guest => Spake2::start_b(&password, &host, &guest),
        };
        Self { side, state, sent }
    }

    /// With what the other side has sent; `None` if that is no such thing. Whether it knows the code shows later.
    pub(super) fn finish(self, received: &[u8]) -> Option<Keys> {
        let Self { side, state, sent } = self;
        let (host, guest) = match side {
            Side::Host => (&sent[..], received),
            Side::Guest => (received, &sent[..]),
        };
        let transcript =
            Sha256::new().chain_update(GREETING).chain_update(host).chain_update(guest).finalize();
        let shared = Zeroizing::new(state.finish(received).ok()?);
        let derived = Hkdf::<Sha256>::new(Some(&transcript), &shared);
        let key = |label: &str, side: Side| {
            let mut key = Zeroizing::new([0; 32]);
            // A key is far shorter than what can be derived.
            let info = [label.as_bytes(), side.name().as_bytes()];
            derived.expand_multi_info(&info, &mut *key).ok().map(|()| key)
        };
        let sealer = |side| {
            Some(Sealer { cipher: ChaCha20Poly1305::new_from_slice(&*key("seal ", side)?).ok()?, count: 0 })
        };
        Some(Keys {
            own_proof: proof(&*key("confirm ", side)?, &transcript)?,
            other_key: key("confirm ", side.other())?,
            transcript: transcript.into(),
            seal: sealer(side)?,
            open: sealer(side.other())?,
        })
    }
}

/// What comes of an exchange: the same on both sides, if both know the code.
pub(super) struct Keys {
    /// Shows the other side that this one knows the code.
    pub(super) own_proof: [u8; 32],
    other_key: Zeroizing<[u8; 32]>,
    transcript: [u8; 32],
    /// For what this side sends.
    pub(super) seal: Sealer,
    /// For what the other side sends.
    pub(super) open: Sealer,
}

impl Keys {
    /// Whether the other side knows the code. Not left to the cipher: a message can be made that opens with many keys,
    /// and so tries many codes at once.
    pub(super) fn is_proven(&self, proof: &[u8]) -> bool {
        mac(&*self.other_key, &self.transcript).is_some_and(|mac| mac.verify_slice(proof).is_ok())
    }
}

/// One direction: each message has its number.
pub(super) struct Sealer {
    cipher: ChaCha20Poly1305,
    count: u8,
}

impl Sealer {
    pub(super) fn seal(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let nonce = self.nonce()?;
        self.cipher.encrypt(&nonce, message).ok()
    }

    pub(super) fn open(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let nonce = self.nonce()?;
        self.cipher.decrypt(&nonce, message).ok()
    }

    fn nonce(&mut self) -> Option<Nonce> {
        self.count = self.count.checked_add(1)?;
        Some(Nonce::from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, self.count]))
    }
}

fn mac(key: &[u8], transcript: &[u8]) -> Option<Hmac<Sha256>> {
    Hmac::<Sha256>::new_from_slice(key).ok().map(|mac| mac.chain_update(transcript))
}

fn proof(key: &[u8], transcript: &[u8]) -> Option<[u8; 32]> {
    mac(key, transcript).map(|mac| mac.finalize().into_bytes().into())
}

/// What a guest begins with; the number is the version of the whole exchange.
pub(super) const GREETING: &[u8] = b"ha-agent pair 1\n";

#[cfg(test)]
mod tests {
    use super::*;

    /// Both sides' keys.
    fn exchange(host: &Code, guest: &Code) -> (Keys, Keys) {
        let (host, guest) = (Exchange::begin(Side::Host, host), Exchange::begin(Side::Guest, guest));
        let (to_guest, to_host) = (host.sent.clone(), guest.sent.clone());
        (host.finish(&to_host).unwrap(), guest.finish(&to_guest).unwrap())
    }

    #[test]
    fn who_knows_the_code_has_the_same_keys() {
        let code = Code::random().unwrap();
        let (mut host, mut guest) = exchange(&code, &code);
        assert!(host.is_proven(&guest.own_proof) && guest.is_proven(&host.own_proof));
        assert!(!host.is_proven(&host.own_proof), "a reflection is a proof");
        let sealed = guest.seal.seal(b"certificate").unwrap();
        assert!(!sealed.windows(11).any(|part| part == b"certificate"));
        assert_eq!(host.open.open(&sealed).unwrap(), b"certificate");
        assert_eq!(host.open.open(&sealed), None, "the same once more");
        let sealed = host.seal.seal(b"certificate").unwrap();
        assert_eq!(guest.open.open(&[&sealed[..], b"x"].concat()), None);
    }

    #[test]
    fn who_does_not_has_others() {
        let (host, guest) = exchange(&Code::random().unwrap(), &Code::random().unwrap());
        assert!(!host.is_proven(&guest.own_proof) && !guest.is_proven(&host.own_proof));
        assert!(!host.is_proven(&[]) && !host.is_proven(&[0; 32]));
    }

    #[test]
    fn what_is_no_exchange_is_none() {
        let code = Code::random().unwrap();
        let host = || Exchange::begin(Side::Host, &code);
        for received in [&b""[..], &[0x42], &[0x42; 32], &[0x42; 34], &[0xff; 33], &host().sent] {
            assert!(host().finish(received).is_none(), "{received:x?}");
        }
    }
}
