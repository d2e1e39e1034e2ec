//! Messages on a stream: the length in 4 bytes, big endian, then one message in `MessagePack`, a map of its kind's name
//! to its named fields.
//!
//! Whatever the bytes are, no more memory is used than a few times their number: nothing is reserved because a length
//! says so, and nothing is nested deeper than 16 levels.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio_util::codec::{Decoder, Encoder, LengthDelimitedCodec};

use super::message::Message;
use crate::config::quote::OneLine;

/// Turns messages into frames and frames into messages.
#[derive(Debug)]
pub struct Codec {
    frames: LengthDelimitedCodec,
}

impl Codec {
    /// A codec for one direction of one connection.
    #[must_use]
    pub fn new() -> Self {
        let frames = LengthDelimitedCodec::builder().max_frame_length(FRAME_LIMIT).new_codec();
        Self { frames }
    }
}

impl Default for Codec {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder for Codec {
    type Item = Message;
    type Error = CodecError;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Message>, CodecError> {
        match self.frames.decode(bytes) {
            Ok(Some(frame)) => decode(&frame).map(Some),
            Ok(None) => Ok(None),
            // The only error that it has.
            Err(_) => Err(CodecError::TooLarge),
        }
    }
}

impl Encoder<Message> for Codec {
    type Error = CodecError;

    fn encode(&mut self, message: Message, bytes: &mut BytesMut) -> Result<(), CodecError> {
        let frame = encode(&message)?;
        self.frames.encode(frame, bytes).map_err(|_| CodecError::TooLarge)
    }
}

/// One message from the whole of a frame.
///
/// # Errors
///
/// If it is anything else.
pub fn decode(frame: &[u8]) -> Result<Message, CodecError> {
    let kind = kind(frame)?;
    if !Message::KINDS.contains(&kind) {
        return Err(CodecError::UnknownKind(kind.to_owned()));
    }
    let mut rest = frame;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    deserializer.set_max_depth(DEPTH_LIMIT);
    let message = Message::deserialize(&mut deserializer).map_err(CodecError::malformed)?;
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(CodecError::Malformed("there is more behind it".to_owned()))
    }
}

/// The whole of a frame from one message.
///
/// # Errors
///
/// If it is too large.
pub fn encode(message: &Message) -> Result<Bytes, CodecError> {
    let mut frame = BytesMut::with_capacity(64).writer();
    let mut serializer = rmp_serde::Serializer::new(&mut frame).with_struct_map();
    message.serialize(&mut serializer).map_err(CodecError::malformed)?;
    let frame = frame.into_inner().freeze();
    if frame.len() > FRAME_LIMIT { Err(CodecError::TooLarge) } else { Ok(frame) }
}

/// The name of the kind, which must be written as a name: other readers of this format take a number, too.
fn kind(frame: &[u8]) -> Result<&str, CodecError> {
    let not_one = || CodecError::Malformed("it is not one message".to_owned());
    match frame {
        [ONE_ENTRY, marker @ 0xa1..=0xbf, rest @ ..] => {
            let name = rest.get(..usize::from(marker & 0x1f)).ok_or_else(not_one)?;
            str::from_utf8(name).map_err(|_| not_one())
        }
        _ => Err(not_one()),
    }
}

/// Why bytes are no message. Displayed, it is one line.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The length is more than a frame may have.
    #[error("a message of more than {FRAME_LIMIT} bytes")]
    TooLarge,
    /// A kind that this version does not know.
    #[error("a message of the unknown kind '{}'; update the older one of the two agents", OneLine(.0))]
    UnknownKind(String),
    /// Something else.
    #[error("no message: {0}")]
    Malformed(String),
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl CodecError {
    /// What the reader says may quote the peer: it is cut.
    fn malformed(cause: impl std::fmt::Display) -> Self {
        let cause: String = OneLine(&cause.to_string()).to_string().chars().take(200).collect();
        Self::Malformed(cause)
    }
}

/// Bytes of a message.
pub const FRAME_LIMIT: usize = 64 * 1024;
/// Bytes of what a message carries: what is left beside its kind and its other fields.
pub const PAYLOAD_LIMIT: usize = FRAME_LIMIT - 256;
/// How deep maps and arrays may be nested, in fields that nobody knows.
pub(crate) const DEPTH_LIMIT: usize = 16;
/// The marker of a map with one entry.
const ONE_ENTRY: u8 = 0x81;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::message::{Answer, Hello};
    use super::*;

    fn payload() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..300).prop_map(Bytes::from)
    }

    fn message() -> impl Strategy<Value = Message> {
        prop_oneof![
            (any::<(u16, u16, u64)>(), "\\PC{0,64}", "\\PC{0,20}").prop_map(
                |((version, oldest, life), node, agent)| Message::Hello(Hello {
                    version,
                    oldest,
                    node,
                    agent,
                    life
                })
            ),
            any::<u64>().prop_map(|sequence| Message::Heartbeat { sequence }),
            any::<u64>().prop_map(|sequence| Message::HeartbeatAck { sequence }),
            (any::<u64>(), payload()).prop_map(|(sequence, payload)| Message::State { sequence, payload }),
            payload().prop_map(|payload| Message::Pair { payload }),
            (any::<u64>(), "\\PC{0,20}", payload()).prop_map(|(number, topic, payload)| Message::Call {
                number,
                topic,
                payload
            }),
            (any::<u64>(), payload())
                .prop_map(|(number, payload)| Message::Answer { number, answer: Answer::Done(payload) }),
            (any::<u64>(), "\\PC{0,40}")
                .prop_map(|(number, why)| Message::Answer { number, answer: Answer::Refused(why) }),
            payload().prop_map(|der| Message::Certificate { der }),
            payload().prop_map(|der| Message::CertificatePinned { der }),
            "\\PC{0,40}".prop_map(|why| Message::Bye { why }),
        ]
    }

    fn stream(messages: &[Message]) -> BytesMut {
        let mut bytes = BytesMut::new();
        for message in messages {
            Codec::new().encode(message.clone(), &mut bytes).unwrap();
        }
        bytes
    }

    proptest! {
        #[test]
        fn messages_arrive_as_they_were_in_whatever_pieces(messages in vec(message(), 0..6), piece in 1usize..50) {
            let (mut codec, mut waiting, mut arrived) = (Codec::new(), BytesMut::new(), Vec::new());
            for piece in stream(&messages).chunks(piece) {
                waiting.extend_from_slice(piece);
                while let Some(message) = codec.decode(&mut waiting).unwrap() {
                    arrived.push(message);
                }
            }
            prop_assert!(waiting.is_empty());
            prop_assert_eq!(arrived, messages);
        }

        #[test]
        fn a_kind_is_written_by_its_name(message in message()) {
            let frame = encode(&message).unwrap();
            prop_assert_eq!(kind(&frame).unwrap(), message.kind());
            prop_assert!(Message::KINDS.contains(&message.kind()));
        }

        #[test]
        fn no_truncated_and_no_longer_message_is_one(message in message(), more in any::<u8>()) {
            let frame = encode(&message).unwrap();
            for end in 0..frame.len() {
                prop_assert!(decode(&frame[..end]).is_err(), "{} of {} bytes", end, frame.len());
            }
            prop_assert!(decode(&[&frame[..], &[more]].concat()).is_err());
        }

        #[test]
        fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
            judge(&bytes);
        }

        #[test]
        fn a_message_with_other_bytes_never_panics(message in message(), others in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut frame = encode(&message).unwrap().to_vec();
            for (at, byte) in others {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
            judge(&frame);
        }
    }

    /// Whatever it is: what is a message stays one, and what is none is told in one short line.
    fn judge(frame: &[u8]) {
        match decode(frame) {
            Ok(message) => assert_eq!(decode(&encode(&message).unwrap()).unwrap(), message),
            Err(error) => {
                let line = error.to_string();
                assert!(line.len() < 1000 && !line.contains(char::is_control), "{line}");
            }
        }
    }

    /// A frame from text: hexadecimal bytes, and strings with their marker.
    fn frame(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn unknown_fields_are_skipped() {
        let known = frame(&[b"\x81\xa9heartbeat\x81\xa8sequence\x07"]);
        let expected = Message::Heartbeat { sequence: 7 };
        assert_eq!(decode(&known).unwrap(), expected);
        for (more, value) in
            [("number", &b"\x2a"[..]), ("text", b"\xa2hi"), ("map", b"\x81\xa1a\x92\x01\xc0")]
        {
            let name = [&[0xa0 | u8::try_from(more.len()).unwrap()], more.as_bytes()].concat();
            for parts in [
                [&b"\x81\xa9heartbeat\x82\xa8sequence\x07"[..], &name, value],
                [&[&b"\x81\xa9heartbeat\x82"[..], &name].concat(), value, b"\xa8sequence\x07"],
            ] {
                assert_eq!(decode(&frame(&parts)).unwrap(), expected, "{more}");
            }
        }
    }

    #[test]
    fn an_unknown_kind_is_refused_by_its_name() {
        let error = decode(b"\x81\xa6re\ngal\x80").unwrap_err();
        assert!(matches!(&error, CodecError::UnknownKind(name) if name == "re\ngal"));
        assert_eq!(
            error.to_string(),
            "a message of the unknown kind 're\\ngal'; update the older one of the two agents"
        );
    }

    #[test]
    fn what_is_not_one_whole_message_is_refused() {
        let deep = [&b"\x81\xa9heartbeat\x82\xa1x"[..], &[0x91; 100], b"\xc0\xa8sequence\x07"].concat();
        for bytes in [
            &b""[..],
            b"\x80",
            b"\xc0",
            b"\xa9heartbeat",
            // By number, in two entries, twice the same field, a field missing, of another type.
            b"\x81\x01\x81\xa8sequence\x07",
            b"\x82\xa9heartbeat\x81\xa8sequence\x07\xa3bye\x80",
            b"\x81\xa9heartbeat\x82\xa8sequence\x07\xa8sequence\x07",
            b"\x81\xa9heartbeat\x80",
            b"\x81\xa9heartbeat\x81\xa8sequence\xff",
            // Lengths that are not there.
            b"\x81\xa5state\x82\xa8sequence\x01\xa7payload\xc6\xff\xff\xff\xff\x00",
            b"\x81\xa5state\x82\xa8sequence\x01\xa7payload\xdd\xff\xff\xff\xff\x00",
            b"\x81\xa9heartbeat\xdf\xff\xff\xff\xff\xa8sequence\x07",
            &deep,
        ] {
            assert!(decode(bytes).is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn frames_have_a_limit_in_both_directions() {
        let state = |length| Message::State { sequence: u64::MAX, payload: vec![7; length].into() };
        let largest = stream(&[state(PAYLOAD_LIMIT)]);
        assert!(largest.len() <= FRAME_LIMIT + 4);
        assert_eq!(Codec::new().decode(&mut largest.clone()).unwrap(), Some(state(PAYLOAD_LIMIT)));
        let too_large = Codec::new().encode(state(FRAME_LIMIT), &mut BytesMut::new());
        assert!(matches!(too_large, Err(CodecError::TooLarge)));
        for length in [u32::try_from(FRAME_LIMIT).unwrap() + 1, u32::MAX] {
            let mut announced = BytesMut::from(&length.to_be_bytes()[..]);
            assert!(matches!(Codec::new().decode(&mut announced), Err(CodecError::TooLarge)));
            assert!(announced.capacity() < FRAME_LIMIT, "reserved for a length that is refused");
        }
    }
}
