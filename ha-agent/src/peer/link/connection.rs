//! One connection: from the TCP handshake to its last word.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::CertificateDer;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tokio_util::codec::{FramedRead, FramedWrite};

use super::keeper::{Credentials, Request};
use super::outbox::Outbox;
use super::paths::{Admitted, Candidate};
use super::pulse::{Answering, Pulse};
use super::status::Condition;
use super::{PeerState, Shared};
use crate::config::quote::OneLine;
use crate::core::Instant;
use crate::peer::codec::{Codec, CodecError};
use crate::peer::message::{Hello, Message};
use crate::peer::tls;
use crate::sys::clock;

/// A connection whose other end has shown that it is the peer.
pub(super) struct Greeted {
    remote: SocketAddr,
    is_ours: bool,
    hello: Hello,
    /// Of the protocol, as both know it.
    version: u16,
    certificate: CertificateDer<'static>,
    credentials: Arc<Credentials>,
    reader: Reader,
    writer: Writer,
}

/// Why there is no connection, or no more. Displayed, it is a part of a line.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the connection could not be made or broke: {0}")]
    Io(io::Error),
    #[error("the peer closed the connection")]
    Closed,
    #[error(
        "somebody else answers there, with a certificate that is not the pinned one; if the peer's files were made anew, pair anew"
    )]
    NotPinned,
    #[error("the peer does not accept this node's certificate; pair anew")]
    NotAccepted,
    #[error("the peer sent {0}")]
    Message(CodecError),
    #[error("the peer sent '{0}' where it should not")]
    Unexpected(&'static str),
    #[error("the peer speaks versions {} to {} of the protocol, this node others; update the older agent", .0.oldest, .0.version)]
    Version(Box<Hello>),
    #[error("the peer says: {}", OneLine(.0))]
    Bye(String),
    #[error("{0}")]
    Ended(&'static str),
    #[error("the peer did not answer for long, so another connection is tried")]
    GivenUp,
}

type Reader = FramedRead<ReadHalf<TlsStream<TcpStream>>, Codec>;
type Writer = FramedWrite<WriteHalf<TlsStream<TcpStream>>, Codec>;

/// Shows the other end who this node is, and learns who that is. The caller gives it a deadline.
pub(super) async fn greet(
    shared: &Shared,
    credentials: Arc<Credentials>,
    stream: TcpStream,
    remote: SocketAddr,
    is_ours: bool,
) -> Result<Greeted, End> {
    prepare(&stream, shared.dead()).map_err(End::Io)?;
    let stream =
        if is_ours { credentials.tls.connect(stream).await } else { credentials.tls.accept(stream).await };
    let stream = stream.map_err(End::from)?;
    let certificate = tls::proven(&stream).ok_or(End::NotPinned)?;
    let (reader, writer) = tokio::io::split(stream);
    let mut reader = FramedRead::new(reader, Codec::new());
    let mut writer = FramedWrite::new(writer, Codec::new());
    writer.send(Message::Hello(shared.hello())).await.map_err(End::from)?;
    let hello = match reader.next().await {
        Some(Ok(Message::Hello(hello))) => hello,
        Some(Ok(other)) => return Err(End::Unexpected(other.kind())),
        Some(Err(error)) => return Err(error.into()),
        None => return Err(End::Closed),
    };
    match shared.hello().common_version(&hello) {
        Some(version) => {
            Ok(Greeted { remote, is_ours, hello, version, certificate, credentials, reader, writer })
        }
        None => Err(End::Version(Box::new(hello))),
    }
}

impl Greeted {
    /// Lets it stand until it ends.
    pub(super) async fn run(mut self, shared: &Shared) {
        let own = self.credentials.own.der().clone();
        let candidate = Candidate {
            remote: self.remote,
            is_ours: self.is_ours,
            hello: &self.hello,
            version: self.version,
            ids: [self.credentials.own.id(), self.credentials.peer.id()],
            certificates: [self.certificate.clone(), own],
        };
        // Under the lock, under which connections with other credentials are ended: none slips through.
        let is_current = || {
            let current = shared.credentials.borrow();
            current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &self.credentials))
        };
        let admitted = shared.update(|paths| {
            if is_current() { paths.admit(candidate) } else { Err("the certificates were changed") }
        });
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(why) => return self.part(why).await,
        };
        if let Some(next) = &self.credentials.next {
            admitted.outbox.push(Message::Certificate { der: next.der().to_vec().into() });
        }
        let Admitted { ticket, address, outbox, end } = admitted;
        let why = tokio::select! {
            why = write(&mut self.writer, &outbox) => why,
            why = read(&mut self.reader, shared, &outbox, &self.hello, |condition| {
                let condition = condition.on(address);
                shared.update(|paths| paths.report(ticket, condition));
            }) => why,
            why = end => End::Ended(why.unwrap_or("this connection is not wanted any more")),
        };
        shared.update(|paths| paths.release(ticket, why.to_string()));
        match why {
            End::Ended(why) => self.part(why).await,
            End::Message(error) => self.part(&format!("you sent {error}")).await,
            End::Unexpected(kind) => self.part(&format!("you sent '{kind}' where it should not be")).await,
            End::GivenUp => self.part("you did not answer").await,
            End::Io(_) | End::Closed | End::NotPinned | End::NotAccepted | End::Version(_) | End::Bye(_) => {}
        }
    }

    /// Says why, if that takes no time.
    async fn part(mut self, why: &str) {
        let bye = self.writer.send(Message::Bye { why: why.to_owned() });
        // The peer sees the end of the connection anyway.
        let _ = tokio::time::timeout(PARTING, bye).await;
    }
}

/// How a connection is.
enum Heard {
    Answering { round_trip: Duration, heard: Instant },
    NotAnswering { heard: Instant },
}

impl Heard {
    fn on(self, via: SocketAddr) -> Condition {
        match self {
            Self::Answering { round_trip, heard } => Condition::Up { via, round_trip, heard },
            Self::NotAnswering { heard } => Condition::NotAnswering { heard: Some(heard) },
        }
    }
}

async fn write(writer: &mut Writer, outbox: &Outbox) -> End {
    loop {
        let message = outbox.next().await;
        if let Err(error) = writer.send(message).await {
            return error.into();
        }
    }
}

/// Reads, and keeps the heartbeats going.
async fn read(
    reader: &mut Reader,
    shared: &Shared,
    outbox: &Arc<Outbox>,
    hello: &Hello,
    report: impl Fn(Heard),
) -> End {
    let mut pulse = Pulse::new(clock::now(), shared.settings.heartbeat, shared.dead());
    loop {
        let now = clock::now();
        if let Some(sequence) = pulse.beat(now) {
            outbox.heartbeat(sequence);
        }
        match pulse.answering(now) {
            Answering::NotYet => {}
            Answering::Yes { round_trip } => report(Heard::Answering { round_trip, heard: pulse.heard() }),
            Answering::No => report(Heard::NotAnswering { heard: pulse.heard() }),
            Answering::GivenUp => return End::GivenUp,
        }
        let sleep = pulse.wake(now).saturating_since(now);
        let message = tokio::select! {
            // What has come is heard before anything is made of silence.
            biased;
            message = reader.next() => message,
            () = tokio::time::sleep(sleep) => continue,
        };
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => return error.into(),
            None => return End::Closed,
        };
        let now = clock::now();
        pulse.hear(now);
        match message {
            Message::Heartbeat { sequence } => outbox.answer(sequence),
            Message::HeartbeatAck { sequence } => pulse.answer(now, sequence),
            Message::State { sequence, payload } => {
                keep(shared, PeerState { life: hello.life, sequence, payload });
            }
            Message::Pair { payload } => {
                if shared.messages.try_send(payload).is_err() {
                    tracing::warn!("a message of the peer was dropped: too many wait to be read");
                }
            }
            Message::Call { number, topic, payload } => shared.calls.arrived(outbox, number, topic, payload),
            Message::Answer { number, answer } => shared.calls.answered(number, answer),
            Message::Certificate { der } => ask(shared, Request::Pin(der.to_vec().into())),
            Message::CertificatePinned { der } => ask(shared, Request::GoOver(der.to_vec().into())),
            Message::Bye { why } => return End::Bye(why.chars().take(BYE_LIMIT).collect()),
            Message::Hello(_) => return End::Unexpected("hello"),
        }
    }
}

/// Keeps a state, if it is newer than what is kept.
fn keep(shared: &Shared, state: PeerState) {
    shared.states.send_if_modified(|kept| {
        let is_newer =
            kept.as_ref().is_none_or(|kept| kept.life != state.life || kept.sequence < state.sequence);
        if is_newer {
            *kept = Some(state);
        }
        is_newer
    });
}

fn ask(shared: &Shared, request: Request) {
    // Whoever asked asks again with the next connection.
    if shared.requests.try_send(request).is_err() {
        tracing::debug!("a change of certificates waits for the next connection");
    }
}

fn prepare(stream: &TcpStream, dead: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // A path that is cut ends the connection; a peer that is stopped does not, for its kernel acknowledges.
    let patience = dead.saturating_mul(2).max(LEAST_PATIENCE);
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(patience))
}

impl From<CodecError> for End {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Io(error) => error.into(),
            other @ (CodecError::TooLarge | CodecError::UnknownKind(_) | CodecError::Malformed(_)) => {
                Self::Message(other)
            }
        }
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        use rustls::{CertificateError, Error};
        match error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) {
            Some(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
                Self::NotPinned
            }
            Some(Error::AlertReceived(rustls::AlertDescription::AccessDenied)) => Self::NotAccepted,
            _ if error.kind() == io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// How long the last word may take.
const PARTING: Duration = Duration::from_millis(50);
/// Characters of the peer's last word.
const BYE_LIMIT: usize = 200;
/// For how long TCP may wait for an acknowledgement, at least.
const LEAST_PATIENCE: Duration = Duration::from_secs(2);
