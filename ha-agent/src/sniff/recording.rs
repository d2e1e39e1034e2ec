//! Files with recorded frames: the classic format of libpcap and pcapng, of either byte order and any precision.
//!
//! The formats are read by `pcap-parser`; here, what it leaves to its users.

use std::io::{self, Read};

use pcap_parser::pcapng::Block;
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{PcapBlockOwned, PcapError, create_reader};

use super::{Kind, Received};

/// A file that is being read.
pub struct Recording {
    reader: Box<dyn PcapReaderIterator + Send>,
    /// Whether it is pcapng, which consists of blocks.
    blocks: bool,
    interfaces: Vec<Interface>,
    /// Frames that were read.
    frames: u64,
    not_understood: u64,
}

/// Where frames were recorded.
#[derive(Clone, Copy, Debug)]
struct Interface {
    /// `None`: what its frames begin with is not understood.
    kind: Option<Kind>,
    clock: Clock,
}

/// What the time of a frame is counted in.
#[derive(Clone, Copy, Debug)]
struct Clock {
    per_second: u64,
    /// What is added, in s.
    offset: i64,
}

/// Why a file can't be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It is another kind of file.
    #[error("this is no recording of frames; name a file in the format of pcap or pcapng")]
    NoRecording,
    /// Its frames begin with something else than we know.
    #[error(
        "frames of the kind {0} (LINKTYPE) are not understood; record on an Ethernet interface, or with `-i any`"
    )]
    Link(i32),
    /// It ends within a frame.
    #[error(
        "it ends within frame {0}; what comes before was read: was it cut off, or is it still being written?"
    )]
    CutOff(u64),
    /// A part is longer than any should be, or makes no sense.
    #[error("it is damaged after frame {0}; what comes before was read: record anew")]
    Damaged(u64),
    /// The system does not give it.
    #[error("it can't be read; check the disk")]
    Io,
}

impl Recording {
    /// Begins to read.
    ///
    /// # Errors
    ///
    /// If it is no recording, or of a kind of frames that is not understood.
    pub fn open(file: impl Read + Send + 'static) -> Result<Self, RecordingError> {
        // A file may give less than it has; the beginning is wanted whole.
        let reader = create_reader(ROOM, Whole(file)).map_err(|error| match error {
            PcapError::ReadError => RecordingError::Io,
            _ => RecordingError::NoRecording,
        })?;
        let blocks = reader.data().starts_with(&SECTION);
        Ok(Self { reader, blocks, interfaces: Vec::new(), frames: 0, not_understood: 0 })
    }

    /// Gives the next frame to `see`, whatever it is; `None` at the end.
    ///
    /// # Errors
    ///
    /// If there is more, and it can't be read.
    pub fn next<T>(&mut self, mut see: impl FnMut(&Received<'_>) -> T) -> Result<Option<T>, RecordingError> {
        loop {
            let before = (self.reader.data().len(), self.reader.reader_exhausted());
            // Of such a block, the parser would take the rest of its header away.
            if self.blocks && is_too_short(self.reader.data()) {
                return Err(RecordingError::Damaged(self.frames));
            }
            match self.reader.next() {
                Ok((length, block)) => {
                    let found = match frame(&block, &mut self.interfaces)? {
                        Part::Frame(received) => {
                            self.frames += 1;
                            Some(see(&received))
                        }
                        Part::NotUnderstood => {
                            (self.frames, self.not_understood) = (self.frames + 1, self.not_understood + 1);
                            None
                        }
                        Part::Else => None,
                    };
                    self.reader.consume(length);
                    if found.is_some() {
                        return Ok(found);
                    }
                }
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::UnexpectedEof) => return Err(RecordingError::CutOff(self.frames + 1)),
                Err(PcapError::ReadError) => return Err(RecordingError::Io),
                Err(PcapError::Incomplete(_)) => {
                    self.reader.refill().map_err(|_| RecordingError::Io)?;
                    // Else it would be asked for ever for more than there is room for.
                    if before == (self.reader.data().len(), self.reader.reader_exhausted()) {
                        return Err(RecordingError::Damaged(self.frames));
                    }
                }
                Err(_) => return Err(RecordingError::Damaged(self.frames)),
            }
        }
    }

    /// How many frames were left out, because what they begin with is not understood.
    #[must_use]
    pub fn not_understood(&self) -> u64 {
        self.not_understood
    }
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recording").field("frames", &self.frames).finish_non_exhaustive()
    }
}

/// A part of a file.
enum Part<'a> {
    Frame(Received<'a>),
    NotUnderstood,
    Else,
}

fn frame<'a>(
    block: &'a PcapBlockOwned<'_>,
    interfaces: &mut Vec<Interface>,
) -> Result<Part<'a>, RecordingError> {
    match block {
        PcapBlockOwned::LegacyHeader(header) => {
            let kind = Kind::of(header.network.0).ok_or(RecordingError::Link(header.network.0))?;
            let per_second = if header.is_nanosecond_precision() { NANOS } else { MICROS };
            *interfaces = vec![Interface { kind: Some(kind), clock: Clock { per_second, offset: 0 } }];
            Ok(Part::Else)
        }
        PcapBlockOwned::Legacy(block) => {
            let interface = interfaces.first().copied();
            let count = |clock: Clock| {
                u64::from(block.ts_sec).checked_mul(clock.per_second)?.checked_add(block.ts_usec.into())
            };
            Ok(part(interface, block.data, block.origlen, count))
        }
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            interfaces.clear();
            Ok(Part::Else)
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(block)) => {
            let clock = Clock { per_second: resolution(block.if_tsresol), offset: block.if_tsoffset };
            // More than anybody has: a file may not fill the memory.
            if interfaces.len() < INTERFACES {
                interfaces.push(Interface { kind: Kind::of(block.linktype.0), clock });
            }
            Ok(Part::Else)
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
            let interface =
                usize::try_from(block.if_id).ok().and_then(|index| interfaces.get(index)).copied();
            let count = |_| Some(u64::from(block.ts_high) << 32 | u64::from(block.ts_low));
            Ok(part(interface, block.packet_data(), block.origlen, count))
        }
        PcapBlockOwned::NG(Block::SimplePacket(block)) => {
            // Its length is padded, and it has no time.
            let length = usize::try_from(block.origlen).unwrap_or(usize::MAX).min(block.data.len());
            let data = block.data.get(..length).unwrap_or_default();
            Ok(part(interfaces.first().copied(), data, block.origlen, |_| None))
        }
        PcapBlockOwned::NG(_) => Ok(Part::Else),
    }
}

fn part(
    interface: Option<Interface>,
    bytes: &[u8],
    length: u32,
    count: impl FnOnce(Clock) -> Option<u64>,
) -> Part<'_> {
    let Some(Interface { kind: Some(kind), clock }) = interface else { return Part::NotUnderstood };
    let at_ns = count(clock).and_then(|count| clock.nanos(count));
    let length = usize::try_from(length).unwrap_or(usize::MAX).max(bytes.len());
    Part::Frame(Received { bytes, kind, length, at_ns, tag: None, outgoing: kind.is_outgoing(bytes) })
}

impl Clock {
    /// In ns since 1970.
    fn nanos(self, count: u64) -> Option<u64> {
        let nanos = u128::from(count) * u128::from(NANOS) / u128::from(self.per_second.max(1));
        let nanos = i128::try_from(nanos).ok()? + i128::from(self.offset) * i128::from(NANOS);
        u64::try_from(nanos).ok()
    }
}

/// Whether a block has not even room for its type and its length, which stands before and after, in whichever byte order: what is
/// short in one is far too long in the other.
fn is_too_short(block: &[u8]) -> bool {
    let length = block.get(4..).and_then(<[u8]>::first_chunk);
    length.is_some_and(|length| u32::from_le_bytes(*length).min(u32::from_be_bytes(*length)) < 12)
}

/// How many of the units that `if_tsresol` names are in a second; of more than there is a number for, the most.
fn resolution(exponent: u8) -> u64 {
    let (base, exponent) = if exponent & 0x80 == 0 { (10_u64, exponent) } else { (2, exponent & 0x7f) };
    base.saturating_pow(exponent.into())
}

/// Reads until there is no room, or no more.
struct Whole<R>(R);

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read(rest) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// The longest part of a file that can be read, in bytes; frames have 256 KiB at most.
const ROOM: usize = 1 << 20;
/// How pcapng begins: with a section header.
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Interfaces that are remembered of a section.
const INTERFACES: usize = 4096;
const MICROS: u64 = 1_000_000;
const NANOS: u64 = 1_000_000_000;
