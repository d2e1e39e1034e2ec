//! The 72 bytes by which a node asks another one's kernel, and those by which it answers (docs/echo.md).

use crate::auth::Seal;

/// Length of a probe and of an answer, in bytes: neither more nor less, so that nothing is amplified.
pub const LEN: usize = Seal::COVERED + Seal::TAG;
/// The first two bytes of both.
pub const MAGIC: [u8; 2] = *b"hE";
/// This version.
pub const VERSION: u8 = 1;
/// How many virtual hosts one probe can ask for.
pub const MOST_ASKED: usize = 3;
/// [`Header::lease_us`] where no lease binds the node: it answers for its addresses whatever its agent does.
pub const NO_LEASE: u32 = u32::MAX;

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Asks.
    Probe = 1,
    /// Answers.
    Answer = 2,
}

/// What a virtual host is, as the answering node's agent last wrote it down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// It has no such virtual host.
    #[default]
    Unknown = 0,
    /// It has, and is not its master.
    Backup = 1,
    /// It is its master.
    Master = 2,
}

impl Role {
    fn read(byte: u8) -> Option<Self> {
        [Self::Unknown, Self::Backup, Self::Master].into_iter().find(|role| *role as u8 == byte)
    }
}

/// A view of the 72 bytes.
///
/// ```text
///  0               1               2               3
/// +---------------+---------------+---------------+-------+-------+
/// |          magic "hE"           |    version    | kind  |sender |
/// +---------------+---------------+---------------+-------+-------+
/// |                        nonce (8 bytes)                        |
/// +---------------------------------------------------------------+
/// |               the sender's boot identity (8 bytes)            |
/// +---------------------------------------------------------------+
/// |                 the sender's generation (8 bytes)             |
/// +---------------------------------------------------------------+
/// |            left of the lease, in µs; 0 in a probe             |
/// +---------------------------------------------------------------+
/// |      since the agent's last sign of life, in µs; 0 in a probe |
/// +---------------+---------------+-------------------------------+
/// |     count     |     flags     |        name of the key        |
/// +---------------+---------------+-------------------------------+
/// |     three virtual hosts: what is asked for, 4 bytes each      |
/// |     in an answer: three zero bytes and the role, in place     |
/// +---------------------------------------------------------------+
/// |           HMAC-SHA1 over the 52 bytes before (20 bytes)       |
/// +---------------------------------------------------------------+
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Header<'a>(pub &'a [u8; LEN]);

impl Header<'_> {
    /// Whether it is one of this version at all: unauthenticated, so it says only whether to look closer.
    #[inline(always)]
    #[must_use]
    pub fn is_of(&self, kind: Kind) -> bool {
        let [first, second, version, kind_and_sender, ..] = *self.0;
        [first, second] == MAGIC && version == VERSION && kind_and_sender >> 4 == kind as u8
    }

    /// Which of the two it is, if it is of this version at all: unauthenticated, so it says only whether to look closer.
    #[inline(always)]
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        if self.is_of(Kind::Probe) {
            Some(Kind::Probe)
        } else if self.is_of(Kind::Answer) {
            Some(Kind::Answer)
        } else {
            None
        }
    }

    /// Which node of the pair sent it, 0 or 1.
    #[inline(always)]
    #[must_use]
    pub fn sender(&self) -> u8 {
        self.0[3] & 0x0f
    }

    /// The number of the probe, which its answer repeats.
    #[inline(always)]
    #[must_use]
    pub fn nonce(&self) -> u64 {
        self.u64_at::<4>()
    }

    /// Which boot of its machine the sender is of.
    #[inline(always)]
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.u64_at::<12>()
    }

    /// The generation in which the sender serves, or last did.
    #[inline(always)]
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.u64_at::<20>()
    }

    /// What is left of the sender's lease, in µs; 0 if it is over, [`NO_LEASE`] if there is none.
    #[inline(always)]
    #[must_use]
    pub fn lease_us(&self) -> u32 {
        self.u32_at::<28>()
    }

    /// How long ago the sender's agent gave its last sign of life, in µs.
    #[inline(always)]
    #[must_use]
    pub fn age_us(&self) -> u32 {
        self.u32_at::<32>()
    }

    /// How many virtual hosts are asked for, 0 to [`MOST_ASKED`]; more mean as many.
    #[inline(always)]
    #[must_use]
    pub fn count(&self) -> usize {
        let count = usize::from(self.0[36]);
        if count < MOST_ASKED { count } else { MOST_ASKED }
    }

    /// [`GONE`], in an answer.
    #[inline(always)]
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.0[37]
    }

    /// The name of the key that seals it.
    #[inline(always)]
    #[must_use]
    pub fn key(&self) -> u16 {
        u16::from_be_bytes([self.0[38], self.0[39]])
    }

    /// Four bytes each: the key of a virtual host, or its role.
    #[inline(always)]
    #[must_use]
    pub fn hosts(&self) -> [u32; MOST_ASKED] {
        [self.u32_at::<40>(), self.u32_at::<44>(), self.u32_at::<48>()]
    }

    #[inline(always)]
    fn u64_at<const AT: usize>(self) -> u64 {
        let b = self.0;
        u64::from_be_bytes([
            b[AT],
            b[AT + 1],
            b[AT + 2],
            b[AT + 3],
            b[AT + 4],
            b[AT + 5],
            b[AT + 6],
            b[AT + 7],
        ])
    }

    #[inline(always)]
    fn u32_at<const AT: usize>(self) -> u32 {
        let b = self.0;
        u32::from_be_bytes([b[AT], b[AT + 1], b[AT + 2], b[AT + 3]])
    }
}

/// A probe or an answer as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Which of the two it is.
    pub kind: Kind,
    /// Which node of the pair sends it, 0 or 1.
    pub sender: u8,
    /// The number of the probe, never used before under the same key.
    pub nonce: u64,
    /// Which boot of its machine the sender is of.
    pub boot: u64,
    /// The generation in which the sender serves, or last did.
    pub generation: u64,
    /// See [`Header::lease_us`].
    pub lease_us: u32,
    /// See [`Header::age_us`].
    pub age_us: u32,
    /// How many virtual hosts are asked for, 0 to [`MOST_ASKED`].
    pub count: u8,
    /// [`GONE`], in an answer.
    pub flags: u8,
    /// The name of the key that seals it.
    pub key: u16,
    /// Four bytes for each of them.
    pub hosts: [u32; MOST_ASKED],
}

/// Flag of an answer: the agent's process has ended, and nobody has announced that.
pub const GONE: u8 = 1;

impl Repr {
    /// Its bytes, not sealed yet.
    #[inline(always)]
    #[must_use]
    pub fn emit(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        self.write(&mut bytes);
        bytes
    }

    /// Puts all that is sealed into bytes that are there.
    #[inline(always)]
    pub fn write(&self, bytes: &mut [u8; LEN]) {
        let [first, second] = MAGIC;
        let words = [
            u32::from_be_bytes([first, second, VERSION, (self.kind as u8) << 4 | self.sender & 0x0f]),
            high(self.nonce),
            low(self.nonce),
            high(self.boot),
            low(self.boot),
            high(self.generation),
            low(self.generation),
            self.lease_us,
            self.age_us,
            u32::from_be_bytes([self.count, self.flags, 0, 0]) | u32::from(self.key),
            self.hosts[0],
            self.hosts[1],
            self.hosts[2],
        ];
        let (to, _) = bytes.as_chunks_mut::<4>();
        for (to, from) in to.iter_mut().zip(words) {
            *to = from.to_be_bytes();
        }
    }
}

impl TryFrom<u32> for Role {
    type Error = u32;

    /// As it stands in an answer.
    fn try_from(host: u32) -> Result<Self, u32> {
        u8::try_from(host).ok().and_then(Self::read).ok_or(host)
    }
}

#[inline(always)]
fn high(value: u64) -> u32 {
    low(value >> 32)
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
fn low(value: u64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_emits() {
        let repr = Repr {
            kind: Kind::Answer,
            sender: 1,
            nonce: 0x0102_0304_0506_0708,
            boot: 0x1112_1314_1516_1718,
            generation: 0x2122_2324_2526_2728,
            lease_us: 0x3132_3334,
            age_us: 0x4142_4344,
            count: 3,
            flags: GONE,
            key: 0x6162,
            hosts: [1, 2, 0x5152_5354],
        };
        let bytes = repr.emit();
        let header = Header(&bytes);
        assert!(header.is_of(Kind::Answer) && !header.is_of(Kind::Probe));
        let read = Repr {
            kind: Kind::Answer,
            sender: header.sender(),
            nonce: header.nonce(),
            boot: header.boot(),
            generation: header.generation(),
            lease_us: header.lease_us(),
            age_us: header.age_us(),
            count: 3,
            flags: header.flags(),
            key: header.key(),
            hosts: header.hosts(),
        };
        assert_eq!((read, header.count()), (repr, 3));
        assert_eq!(
            header.hosts().map(Role::try_from),
            [Ok(Role::Backup), Ok(Role::Master), Err(0x5152_5354)]
        );
    }

    #[test]
    fn what_is_no_probe_of_this_version_is_none() {
        let repr = Repr {
            kind: Kind::Probe,
            sender: 0,
            nonce: 1,
            boot: 2,
            generation: 3,
            lease_us: 0,
            age_us: 0,
            count: 0,
            flags: 0,
            key: 0,
            hosts: [0; MOST_ASKED],
        };
        let good = repr.emit();
        assert!(Header(&good).is_of(Kind::Probe));
        for at in [0, 1, 2, 3] {
            let mut bad = good;
            bad[at] ^= 0x40;
            assert!(!Header(&bad).is_of(Kind::Probe), "byte {at}");
        }
        let mut many = good;
        many[36] = 255;
        assert_eq!(Header(&many).count(), MOST_ASKED);
    }
}
