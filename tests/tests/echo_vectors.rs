//! The published messages of the echo: what is read, written and sealed is what stands in `data/echo.json`.

mod support {
    pub(crate) mod hex;
}

use anyhow::{Context, Result, ensure};
use ha_common::auth::{Scratch, Seal};
use ha_common::wire::echo::{Header, Kind, LEN, Repr};
use serde::Deserialize;

use support::hex::{Hex, Number};

#[derive(Deserialize)]
struct Published {
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    id: String,
    key_hex: Hex,
    kind: Word,
    sender: u8,
    nonce: Number,
    boot: Number,
    generation: u64,
    lease_us: u32,
    age_us: u32,
    count: u8,
    flags: u8,
    key: Number,
    hosts: [Number; 3],
    bytes_hex: Hex,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Probe,
    Answer,
}

#[test]
fn messages_are_written_read_and_sealed_as_published() -> Result<()> {
    let Published { messages } = serde_json::from_str(include_str!("../data/echo.json"))?;
    for message in &messages {
        let Message { id, key_hex: Hex(key), bytes_hex: Hex(bytes), .. } = message;
        let bytes: &[u8; LEN] = bytes.as_slice().try_into().with_context(|| id.clone())?;
        let seal = Seal::new(key.as_slice().try_into().with_context(|| id.clone())?);
        let kind = match message.kind {
            Word::Probe => Kind::Probe,
            Word::Answer => Kind::Answer,
        };
        let repr = Repr {
            kind,
            sender: message.sender,
            nonce: message.nonce.0,
            boot: message.boot.0,
            generation: message.generation,
            lease_us: message.lease_us,
            age_us: message.age_us,
            count: message.count,
            flags: message.flags,
            key: u16::try_from(message.key.0)?,
            hosts: message.hosts.map(|Number(host)| u32::try_from(host).unwrap_or(u32::MAX)),
        };
        let mut written = repr.emit();
        seal.close(&mut Scratch::default(), &mut written);
        ensure!(written == *bytes, "{id}: written {written:02x?}");
        let header = Header(bytes);
        ensure!(header.is_of(kind) && seal.is_whole(&mut Scratch::default(), bytes), "{id} is not whole");
        let read = Repr {
            kind,
            sender: header.sender(),
            nonce: header.nonce(),
            boot: header.boot(),
            generation: header.generation(),
            lease_us: header.lease_us(),
            age_us: header.age_us(),
            count: u8::try_from(header.count())?,
            flags: header.flags(),
            key: header.key(),
            hosts: header.hosts(),
        };
        ensure!(read == repr, "{id}: read {read:?}");
    }
    ensure!(messages.len() == 5, "{} messages", messages.len());
    Ok(())
}
