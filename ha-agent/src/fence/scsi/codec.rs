//! Persistent reservations in SCSI commands (SPC-4, 6.15 and 6.16), and what a disk says of itself (INQUIRY).

use super::super::device::{Abilities, Holder, Kind, Registrations};
use super::super::key::Key;

/// PERSISTENT RESERVE IN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum In {
    /// READ KEYS
    Keys = 0,
    /// READ RESERVATION
    Reservation = 1,
    /// REPORT CAPABILITIES
    Capabilities = 2,
}

/// PERSISTENT RESERVE OUT. What the numbers stand for is in the [parameters](Parameters).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// REGISTER
    Register = 0,
    /// RESERVE
    Reserve = 1,
    /// RELEASE
    Release = 2,
    /// CLEAR
    Clear = 3,
    /// PREEMPT
    Preempt = 4,
    /// PREEMPT AND ABORT
    PreemptAndAbort = 5,
    /// REGISTER AND IGNORE EXISTING KEY
    RegisterAnyway = 6,
}

/// What goes with PERSISTENT RESERVE OUT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// RESERVATION KEY: what the sender has registered; 0 is nothing.
    pub own: u64,
    /// SERVICE ACTION RESERVATION KEY: the new key, or the victim's.
    pub other: u64,
    /// APTPL: whether the disk is to remember it without power.
    pub persistent: bool,
}

impl In {
    /// The command, for an answer of so many bytes at most.
    #[must_use]
    pub fn command(self, length: u16) -> [u8; 10] {
        let [high, low] = length.to_be_bytes();
        [RESERVE_IN, self as u8, 0, 0, 0, 0, 0, high, low, 0]
    }

    /// The command that this is, and the length of its answer.
    #[must_use]
    pub fn parse(command: &[u8]) -> Option<(Self, u16)> {
        let [RESERVE_IN, action, _, _, _, _, _, high, low, _] = *command else { return None };
        let actions = [Self::Keys, Self::Reservation, Self::Capabilities];
        let action = actions.into_iter().find(|known| *known as u8 == action & ACTION)?;
        Some((action, u16::from_be_bytes([high, low])))
    }
}

impl Out {
    /// The command; its parameters follow as data.
    #[must_use]
    pub fn command(self) -> [u8; 10] {
        let kind = match self {
            Self::Reserve | Self::Release | Self::Preempt | Self::PreemptAndAbort => REGISTRANTS_ONLY,
            Self::Register | Self::RegisterAnyway | Self::Clear => 0,
        };
        [RESERVE_OUT, self as u8, kind, 0, 0, 0, 0, 0, PARAMETERS, 0]
    }

    /// The command that this is, and the kind of reservation that it means.
    #[must_use]
    pub fn parse(command: &[u8]) -> Option<(Self, u8)> {
        let [RESERVE_OUT, action, kind, _, _, 0, 0, 0, PARAMETERS, _] = *command else { return None };
        let actions = [
            Self::Register,
            Self::Reserve,
            Self::Release,
            Self::Clear,
            Self::Preempt,
            Self::PreemptAndAbort,
            Self::RegisterAnyway,
        ];
        let action = actions.into_iter().find(|known| *known as u8 == action & ACTION)?;
        Some((action, kind))
    }
}

impl Parameters {
    /// As they are sent.
    #[must_use]
    pub fn to_bytes(self) -> [u8; PARAMETERS as usize] {
        let mut bytes = [0; PARAMETERS as usize];
        bytes[..8].copy_from_slice(&self.own.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.other.to_be_bytes());
        bytes[20] = u8::from(self.persistent);
        bytes
    }

    /// What was sent.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [own, other] = [u64_at(bytes, 0)?, u64_at(bytes, 8)?];
        Some(Self { own, other, persistent: bytes.get(20)? & 1 != 0 })
    }
}

/// The answer to READ KEYS: generation and keys, or how many bytes it takes if these were too few. `None` if it is none.
#[must_use]
pub fn keys(answer: &[u8]) -> Option<Result<(u32, Vec<Key>), usize>> {
    let length = usize::try_from(u32_at(answer, 4)?).ok()?;
    let needed = length.checked_add(8)?;
    let Some(list) = answer.get(8..needed) else { return Some(Err(needed)) };
    let keys = list.chunks_exact(8).filter_map(|raw| Key::new(u64_at(raw, 0)?)).collect();
    Some(Ok((u32_at(answer, 0)?, keys)))
}

/// The answer to READ RESERVATION: the generation and who holds it. `None` if it is none.
#[must_use]
pub fn reservation(answer: &[u8]) -> Option<(u32, Option<Holder>)> {
    let generation = u32_at(answer, 0)?;
    if u32_at(answer, 4)? < 16 {
        return Some((generation, None));
    }
    let kind = match answer.get(21)? & 0xf {
        REGISTRANTS_ONLY => Kind::Ours,
        other => Kind::Other(other),
    };
    Some((generation, Some(Holder { key: Key::new(u64_at(answer, 8)?), kind })))
}

/// The answer to REPORT CAPABILITIES. `None` if it is none.
#[must_use]
pub fn abilities(answer: &[u8]) -> Option<Abilities> {
    let &[length_high, length_low, persistent, mask_is_valid, types, ..] = answer else { return None };
    let known = u16::from_be_bytes([length_high, length_low]) >= 8 && mask_is_valid & 0x80 != 0;
    Some(Abilities {
        registrants_only: known.then_some(types & (1 << REGISTRANTS_ONLY) != 0),
        persistent: persistent & 1 != 0,
    })
}

/// What stands on a disk, as answers to READ KEYS and READ RESERVATION.
#[must_use]
pub fn answers(registrations: &Registrations) -> [Vec<u8>; 2] {
    let generation = registrations.generation.to_be_bytes();
    let list: Vec<u8> = registrations.keys.iter().flat_map(|key| key.raw().to_be_bytes()).collect();
    let length = u32::try_from(list.len()).unwrap_or_default().to_be_bytes();
    let keys = [&generation[..], &length, &list].concat();
    let reservation = registrations.holder.map_or_else(
        || [&generation[..], &[0; 4]].concat(),
        |Holder { key, kind }| {
            let kind = match kind {
                Kind::Ours => REGISTRANTS_ONLY,
                Kind::Other(kind) => kind,
            };
            let key = key.map_or(0, Key::raw).to_be_bytes();
            [&generation[..], &16_u32.to_be_bytes(), &key, &[0, 0, 0, 0, 0, kind, 0, 0]].concat()
        },
    );
    [keys, reservation]
}

/// INQUIRY for a page of vital product data.
#[must_use]
pub fn inquiry(page: u8, length: u8) -> [u8; 6] {
    [INQUIRY, 1, page, 0, length, 0]
}

/// The unit serial number in page 0x80. `None` if there is none.
#[must_use]
pub fn serial(answer: &[u8]) -> Option<String> {
    let text: String = page(answer, SERIAL)?
        .iter()
        .filter(|byte| byte.is_ascii_graphic())
        .copied()
        .map(char::from)
        .collect();
    (!text.is_empty()).then_some(text)
}

/// The worldwide name of the logical unit in page 0x83, in hexadecimal: NAA first, else EUI-64. `None` if there is none.
#[must_use]
pub fn worldwide_name(answer: &[u8]) -> Option<String> {
    let mut rest = page(answer, IDENTIFICATION)?;
    let mut found: Option<(u8, &[u8])> = None;
    while let [code, about, _, length, tail @ ..] = rest {
        let length = usize::from(*length);
        let name = tail.get(..length)?;
        let is_binary_name_of_unit = code & 0xf == 1 && about & 0x30 == 0;
        let designator = about & 0xf;
        if is_binary_name_of_unit
            && [EUI64, NAA].contains(&designator)
            && found.is_none_or(|(best, _)| designator > best)
        {
            found = Some((designator, name));
        }
        rest = tail.get(length..)?;
    }
    let (_, name) = found?;
    Some(name.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}")))
}

fn page(answer: &[u8], page: u8) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes([*answer.get(2)?, *answer.get(3)?]));
    let data = answer.get(4..)?;
    (*answer.get(1)? == page).then(|| data.get(..length).unwrap_or(data))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes)
}

/// The page with the unit serial number.
pub const SERIAL: u8 = 0x80;
/// The page with the names of the device.
pub const IDENTIFICATION: u8 = 0x83;
/// Write Exclusive, Registrants Only.
pub const REGISTRANTS_ONLY: u8 = 5;

const INQUIRY: u8 = 0x12;
const RESERVE_IN: u8 = 0x5e;
const RESERVE_OUT: u8 = 0x5f;
const ACTION: u8 = 0x1f;
/// Bytes.
const PARAMETERS: u8 = 24;
// Types of designators.
const EUI64: u8 = 2;
const NAA: u8 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_as_the_standard_writes_them() {
        assert_eq!(In::Keys.command(0x1234), [0x5e, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0]);
        assert_eq!(In::Capabilities.command(8), [0x5e, 2, 0, 0, 0, 0, 0, 0, 8, 0]);
        assert_eq!(Out::Register.command(), [0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0]);
        assert_eq!(Out::PreemptAndAbort.command(), [0x5f, 5, 5, 0, 0, 0, 0, 0, 24, 0]);
        assert_eq!(inquiry(SERIAL, 255), [0x12, 1, 0x80, 0, 255, 0]);
        let parameters = Parameters { own: 1, other: 0xab << 56, persistent: true };
        let mut bytes = [0; 24];
        (bytes[7], bytes[8], bytes[20]) = (1, 0xab, 1);
        assert_eq!(parameters.to_bytes(), bytes);
    }

    #[test]
    fn what_a_disk_says_of_itself() {
        assert_eq!(serial(b"\0\x80\0\x08  AB 12 "), Some("AB12".to_owned()));
        assert_eq!(serial(b"\0\x80\0\x02  "), None);
        assert_eq!(serial(b"\0\x83\0\x02AB"), None, "another page");
        let names = [
            &[0, 0x83, 0, 4 + 2 + 4 + 3 + 4 + 8 + 4 + 4][..],
            &[2, 1, 0, 2, b'v', b'x'],
            &[1, 0x13, 0, 3, 5, 5, 5],
            &[1, 2, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8],
            &[1, 3, 0, 4, 0x60, 1, 0x40, 5],
        ]
        .concat();
        assert_eq!(worldwide_name(&names), Some("60014005".to_owned()));
        assert_eq!(worldwide_name(&names[..29]), Some("0102030405060708".to_owned()), "cut off between two");
        let answer = |mask: u8, types: u8| [0, 8, 1, mask, types, 0, 0, 0];
        let able = abilities(&answer(0x80, 0x20));
        assert_eq!(able, Some(Abilities { registrants_only: Some(true), persistent: true }));
        assert_eq!(abilities(&answer(0x80, 0x40)).and_then(|able| able.registrants_only), Some(false));
        assert_eq!(abilities(&answer(0, 0x20)).and_then(|able| able.registrants_only), None);
    }

    proptest! {
        #[test]
        fn registrations_survive_the_wire(generation: u32, raw in proptest::collection::vec(1_u64.., 0..40), holder: Option<(u64, u8)>) {
            let holder = holder.map(|(key, kind)| Holder {
                key: Key::new(key),
                kind: if kind & 0xf == REGISTRANTS_ONLY { Kind::Ours } else { Kind::Other(kind & 0xf) },
            });
            let there = Registrations { generation, keys: raw.into_iter().filter_map(Key::new).collect(), holder };
            let [list, held] = answers(&there);
            prop_assert_eq!(keys(&list), Some(Ok((generation, there.keys.clone()))));
            prop_assert_eq!(reservation(&held), Some((generation, holder)));
            if !there.keys.is_empty() {
                prop_assert_eq!(keys(&list[..list.len() - 1]), Some(Err(list.len())));
            }
        }

        #[test]
        fn parameters_survive_the_wire(own: u64, other: u64, persistent: bool) {
            let sent = Parameters { own, other, persistent };
            prop_assert_eq!(Parameters::parse(&sent.to_bytes()), Some(sent));
        }

        #[test]
        fn no_answer_is_too_strange(answer in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = (keys(&answer), reservation(&answer), abilities(&answer), serial(&answer), worldwide_name(&answer));
            let _ = (In::parse(&answer), Out::parse(&answer), Parameters::parse(&answer));
        }
    }

    #[test]
    fn commands_are_read_back() {
        for action in [In::Keys, In::Reservation, In::Capabilities] {
            assert_eq!(In::parse(&action.command(700)), Some((action, 700)));
        }
        for action in
            [Out::Register, Out::Reserve, Out::Release, Out::Clear, Out::Preempt, Out::PreemptAndAbort]
        {
            assert_eq!(Out::parse(&action.command()).map(|(action, _)| action), Some(action));
        }
        assert_eq!(Out::parse(&[0x5f, 0x1e, 0, 0, 0, 0, 0, 0, 24, 0]), None);
    }
}
