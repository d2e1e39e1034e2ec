//! Introducing two nodes: a code that both are told becomes keys that nobody else has (PAKE), and under these keys they
//! exchange their certificates. Who listens in learns nothing, and who stands in between can try one code a connection.
//!
//! ```text
//!   guest (pair join)                              host (pair init)
//!     │ greeting, SPAKE2 ──────────────────────────────▶ │
//!     │ ◀────────────────────────────────────── SPAKE2   │
//!     │ proof that it knows the code ──────────────────▶ │ counts a wrong one
//!     │ ◀─────────────── its proof, its certificate (sealed)
//!     │ its certificate (sealed) ──────────────────────▶ │ pins it
//!     │ ◀──────────────────────────── "pinned" (sealed)  │
//!     │ pins it; "pinned" (sealed) ────────────────────▶ │
//! ```
//!
//! The guest proves first: so a host's code can't be tried without the host knowing it.

pub mod ceremony;
pub mod code;
mod keys;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use self::code::Code;
use self::keys::{Exchange, GREETING, Keys, Side};
use super::identity::Certificate;

/// Two nodes that have shown each other that they know the code, and exchanged their certificates.
pub struct Introduced<S> {
    /// The other one's.
    pub peer: Certificate,
    frames: Frames<S>,
    keys: Keys,
}

/// Why two nodes were not introduced.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The other side does not know the code.
    #[error(
        "the code is wrong; copy it again from `ha-agent pair init`, which shows a new one after a few tries"
    )]
    WrongCode,
    /// The other side speaks something else.
    #[error(
        "the other side does not speak this pairing protocol; is it `ha-agent pair` of the same version?"
    )]
    Protocol,
    /// It is the same node.
    #[error("the other side has this node's own identity; remove the copied files on one of the two")]
    Itself,
    /// It has this node's name.
    #[error(
        "both nodes are called '{0}', so no order could say which is meant; give one of them another `node` in its configuration"
    )]
    SameName(String),
    /// The other side was too slow.
    #[error("the other side did not answer in time; is it there, and no firewall between?")]
    Timeout,
    /// The connection broke.
    #[error("the connection broke: {0}; try again")]
    Io(#[from] io::Error),
    /// Everything was done here, but perhaps not there.
    #[error(
        "paired here, but the other node did not confirm it: if its `ha-agent pair show` does not name this node, repeat with --replace on both"
    )]
    Unconfirmed,
}

type Frames<S> = Framed<S, LengthDelimitedCodec>;

/// The part of the node that shows the code. Neither side has pinned anything when it returns.
///
/// # Errors
///
/// [`PairError::WrongCode`] counts as a try; nothing is learned about the code from any other.
pub async fn host<S>(stream: S, code: &Code, own: &Certificate) -> Result<Introduced<S>, PairError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut frames = frames(stream);
    let first = within(FIRST, receive(&mut frames)).await?;
    let theirs = first.strip_prefix(GREETING).ok_or(PairError::Protocol)?;
    within(REST, async {
        let exchange = Exchange::begin(Side::Host, code);
        let sent = exchange.sent.clone();
        let mut keys = exchange.finish(theirs).ok_or(PairError::Protocol)?;
        send(&mut frames, sent).await?;
        if !keys.is_proven(&receive(&mut frames).await?) {
            // Said aloud, so that whoever mistyped it knows: it is one bit, which they would learn anyway.
            let _ = send(&mut frames, WRONG.to_vec()).await;
            return Err(PairError::WrongCode);
        }
        let certificate = keys.seal.seal(own.der()).ok_or(PairError::Protocol)?;
        send(&mut frames, [&keys.own_proof[..], &certificate].concat()).await?;
        let sealed = receive(&mut frames).await?;
        let peer = read_certificate(&mut keys, &sealed)?;
        judge(own, &peer)?;
        Ok(Introduced { peer, frames, keys })
    })
    .await
}

/// The part of the node that was told the code. Neither side has pinned anything when it returns.
///
/// # Errors
///
/// See [`PairError`].
pub async fn join<S>(stream: S, code: &Code, own: &Certificate) -> Result<Introduced<S>, PairError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut frames = frames(stream);
    // A host has one guest at a time.
    within(TURN + REST, async {
        let exchange = Exchange::begin(Side::Guest, code);
        send(&mut frames, [GREETING, &exchange.sent].concat()).await?;
        let mut keys = exchange.finish(&receive(&mut frames).await?).ok_or(PairError::Protocol)?;
        send(&mut frames, keys.own_proof.to_vec()).await?;
        let answer = receive(&mut frames).await?;
        if answer == WRONG {
            return Err(PairError::WrongCode);
        }
        let (proof, sealed) = answer.split_at_checked(32).ok_or(PairError::Protocol)?;
        if !keys.is_proven(proof) {
            return Err(PairError::WrongCode);
        }
        let peer = read_certificate(&mut keys, sealed)?;
        let certificate = keys.seal.seal(own.der()).ok_or(PairError::Protocol)?;
        send(&mut frames, certificate).await?;
        // Not before the host can come to the same.
        judge(own, &peer)?;
        Ok(Introduced { peer, frames, keys })
    })
    .await
}

impl<S: AsyncRead + AsyncWrite + Unpin> Introduced<S> {
    /// Says that this node has pinned the other one.
    ///
    /// # Errors
    ///
    /// If the connection breaks.
    pub async fn say_pinned(&mut self) -> Result<(), PairError> {
        let word = self.keys.seal.seal(PINNED).ok_or(PairError::Protocol)?;
        within(REST, send(&mut self.frames, word)).await
    }

    /// Waits until the other node has pinned this one.
    ///
    /// # Errors
    ///
    /// If it does not say so in time.
    pub async fn hear_pinned(&mut self) -> Result<(), PairError> {
        let word = within(REST, receive(&mut self.frames)).await?;
        let word = self.keys.open.open(&word).ok_or(PairError::Protocol)?;
        if word == PINNED { Ok(()) } else { Err(PairError::Protocol) }
    }
}

fn read_certificate(keys: &mut Keys, sealed: &[u8]) -> Result<Certificate, PairError> {
    let der = keys.open.open(sealed).ok_or(PairError::Protocol)?;
    Certificate::from_der(&der).map_err(|_| PairError::Protocol)
}

/// Whether two nodes can be a pair.
fn judge(own: &Certificate, peer: &Certificate) -> Result<(), PairError> {
    if peer.id() == own.id() {
        Err(PairError::Itself)
    } else if peer.name() == own.name() {
        Err(PairError::SameName(own.name().to_owned()))
    } else {
        Ok(())
    }
}

fn frames<S: AsyncRead + AsyncWrite>(stream: S) -> Frames<S> {
    LengthDelimitedCodec::builder().max_frame_length(FRAME_LIMIT).new_framed(stream)
}

async fn send<S>(frames: &mut Frames<S>, bytes: Vec<u8>) -> Result<(), PairError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    Ok(frames.send(Bytes::from(bytes)).await?)
}

async fn receive<S>(frames: &mut Frames<S>) -> Result<Vec<u8>, PairError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match frames.next().await {
        Some(Ok(frame)) => Ok(frame.to_vec()),
        // A length that no frame of ours has.
        Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => Err(PairError::Protocol),
        Some(Err(error)) => Err(error.into()),
        None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    }
}

async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, PairError>>,
) -> Result<T, PairError> {
    tokio::time::timeout(patience, work).await.unwrap_or(Err(PairError::Timeout))
}

/// How long a guest may take to begin.
const FIRST: Duration = Duration::from_secs(2);
/// How long the exchange may take then.
const REST: Duration = Duration::from_secs(5);
/// How long a guest waits for its turn.
const TURN: Duration = Duration::from_secs(20);
/// Bytes of a frame: a certificate and what seals it.
const FRAME_LIMIT: usize = 8192;
const WRONG: &[u8] = b"wrong code";
const PINNED: &[u8] = b"pinned";

#[cfg(test)]
mod tests;
