//! Any bytes from the other end of the peer link.

use bytes::{Buf, BytesMut};
use ha_agent::core::reasons::NodeFacts;
use ha_agent::peer::codec::{self, Codec, FRAME_LIMIT};
use ha_agent::peer::payload;
use ha_agent::update;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::{Decoder, Encoder};

/// Decodes bytes as one message, and as a stream of them, in one piece and in small ones; demands that all agree, that
/// a message stays the same when it is sent on, and that what is none is told in one line. The same of what messages carry.
///
/// # Panics
///
/// If something does not hold.
pub fn peer_link(bytes: &[u8]) {
    match codec::decode(bytes) {
        Ok(message) => {
            let mut sent = BytesMut::new();
            Codec::new().encode(message.clone(), &mut sent).expect("no larger than it was");
            assert_eq!(Codec::new().decode(&mut sent).expect("a message"), Some(message));
            assert!(!sent.has_remaining());
        }
        Err(error) => demand_line(&error.to_string()),
    }
    // What a message carries.
    carried::<NodeFacts>(bytes);
    carried::<ha_agent::core::pair::message::Message>(bytes);
    carried::<update::Order>(bytes);
    carried::<update::Answer>(bytes);
    let whole = stream(&[bytes]);
    let pieces: Vec<_> = bytes.chunks(7).collect();
    assert_eq!(whole, stream(&pieces));
}

/// What is a value stays one, and what is none is told in one line.
fn carried<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    match payload::decode::<T>(bytes) {
        Ok(value) => {
            let again = payload::encode(&value).expect("can be written");
            let same =
                payload::decode::<T>(&again).map(|value| payload::encode(&value).expect("can be written"));
            assert_eq!(same.expect("a value"), again);
        }
        Err(error) => demand_line(&error.to_string()),
    }
}

/// The messages in a stream that arrives in pieces, and how it ends.
fn stream(pieces: &[&[u8]]) -> Vec<String> {
    let (mut codec, mut waiting, mut told) = (Codec::new(), BytesMut::new(), Vec::new());
    for piece in pieces {
        waiting.extend_from_slice(piece);
        loop {
            match codec.decode(&mut waiting) {
                Ok(Some(message)) => told.push(format!("{message:?}")),
                Ok(None) => break,
                Err(error) => {
                    demand_line(&error.to_string());
                    told.push(error.to_string());
                    return told;
                }
            }
        }
        assert!(waiting.capacity() <= 2 * FRAME_LIMIT + bytes_of(pieces), "{} bytes", waiting.capacity());
    }
    told
}

fn bytes_of(pieces: &[&[u8]]) -> usize {
    pieces.iter().map(|piece| piece.len()).sum()
}

fn demand_line(line: &str) {
    assert!(!line.is_empty() && line.len() < 2000 && !line.contains(char::is_control), "{line:?}");
}
