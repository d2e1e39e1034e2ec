//! Why a SCSI command failed: the status, and the sense data that go with it (SPC-4, 4.5).

use std::fmt;

use super::super::device::DeviceError;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The status byte.
    pub status: u8,
    /// What the device says of it.
    pub sense: Option<Sense>,
}

/// What a device says of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// Sense key: 0 to 15.
    pub key: u8,
    /// Additional sense code and its qualifier.
    pub code: [u8; 2],
}

/// What to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    /// It was not done, for a reason that is gone, or goes soon.
    Again {
        at_once: bool,
        why: String,
    },
    Failed(DeviceError),
}

impl Ended {
    /// Well.
    pub const GOOD: Self = Self { status: 0, sense: None };
    /// With a reservation conflict.
    pub const CONFLICT: Self = Self { status: 0x18, sense: None };

    /// With a word of the device.
    #[must_use]
    pub const fn checked(key: u8, code: [u8; 2]) -> Self {
        Self { status: CHECK_CONDITION, sense: Some(Sense { key, code }) }
    }

    pub(super) fn verdict(self) -> Verdict {
        match (self.status, self.sense) {
            (0, _) => Verdict::Done,
            (0x18, _) => Verdict::Failed(DeviceError::Conflict),
            (CHECK_CONDITION, Some(sense)) => sense.verdict(),
            (BUSY | TASK_SET_FULL, _) => Verdict::Again { at_once: false, why: "busy".to_owned() },
            (TASK_ABORTED, _) => Verdict::Again { at_once: true, why: "aborted".to_owned() },
            (status, _) => Verdict::Failed(DeviceError::Refused(format!("status {status:#04x}"))),
        }
    }
}

impl Sense {
    /// Reads sense data of either format. `None` if they are none.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? & 0x7f {
            0x70 | 0x71 => Some(Self {
                key: bytes.get(2)? & 0xf,
                code: [bytes.get(12).copied().unwrap_or(0), bytes.get(13).copied().unwrap_or(0)],
            }),
            0x72 | 0x73 => Some(Self { key: bytes.get(1)? & 0xf, code: [*bytes.get(2)?, *bytes.get(3)?] }),
            _ => None,
        }
    }

    /// In the fixed format.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 18] {
        let mut bytes = [0; 18];
        let [code, qualifier] = self.code;
        (bytes[0], bytes[2], bytes[7], bytes[12], bytes[13]) = (0x70, self.key, 10, code, qualifier);
        bytes
    }

    fn verdict(self) -> Verdict {
        match self.key {
            // It was done all the same.
            RECOVERED => Verdict::Done,
            UNIT_ATTENTION => Verdict::Again { at_once: true, why: self.to_string() },
            NOT_READY | ABORTED => Verdict::Again { at_once: false, why: self.to_string() },
            // A logical unit that was taken away.
            ILLEGAL_REQUEST if self.code == NO_UNIT => Verdict::Failed(DeviceError::Gone),
            ILLEGAL_REQUEST => Verdict::Failed(DeviceError::Unsupported(self.to_string())),
            _ => Verdict::Failed(DeviceError::Refused(self.to_string())),
        }
    }
}

/// The numbers, and a word where there is one.
impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.key {
            NOT_READY => "not ready, ",
            0x3 => "medium error, ",
            0x4 => "hardware error, ",
            ILLEGAL_REQUEST => "illegal request, ",
            UNIT_ATTENTION => "unit attention, ",
            0x7 => "data protect, ",
            ABORTED => "aborted command, ",
            _ => "",
        };
        let [code, qualifier] = self.code;
        write!(f, "{word}sense {:x}/{code:02x}/{qualifier:02x}", self.key)
    }
}

const CHECK_CONDITION: u8 = 0x02;
const BUSY: u8 = 0x08;
const TASK_SET_FULL: u8 = 0x28;
const TASK_ABORTED: u8 = 0x40;
// Sense keys.
const RECOVERED: u8 = 0x1;
const NOT_READY: u8 = 0x2;
const ILLEGAL_REQUEST: u8 = 0x5;
const UNIT_ATTENTION: u8 = 0x6;
const ABORTED: u8 = 0xb;
/// LOGICAL UNIT NOT SUPPORTED
const NO_UNIT: [u8; 2] = [0x25, 0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read() {
        let sense = Sense { key: 5, code: [0x24, 0] };
        assert_eq!(Sense::parse(&sense.to_bytes()), Some(sense));
        assert_eq!(Sense::parse(&[0x72, 6, 0x2a, 3, 0, 0, 0, 0]), Some(Sense { key: 6, code: [0x2a, 3] }));
        assert_eq!(Sense::parse(&[0xf0, 0, 5, 0]), Some(Sense { key: 5, code: [0, 0] }), "a short one");
        for nothing in [&[][..], &[0x70, 0], &[0x72, 6, 0x2a], &[0x7f, 0, 0, 0, 0], &[0; 18]] {
            assert_eq!(Sense::parse(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn each_end_has_its_verdict() {
        let failed = |ended: Ended| match ended.verdict() {
            Verdict::Failed(error) => error.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(Ended::GOOD.verdict(), Verdict::Done);
        assert_eq!(Ended::CONFLICT.verdict(), Verdict::Failed(DeviceError::Conflict));
        assert_eq!(
            failed(Ended::checked(5, [0x20, 0])),
            "the disk does not support it (illegal request, sense 5/20/00)"
        );
        assert_eq!(failed(Ended::checked(5, [0x25, 0])), "the disk is not there");
        assert!(matches!(Ended::checked(6, [0x29, 0]).verdict(), Verdict::Again { at_once: true, .. }));
        assert!(matches!(Ended::checked(2, [4, 0xa]).verdict(), Verdict::Again { at_once: false, .. }));
        assert_eq!(Ended::checked(1, [0, 0]).verdict(), Verdict::Done);
        assert_eq!(failed(Ended { status: 0x30, sense: None }), "the disk refuses (status 0x30)");
        assert_eq!(failed(Ended { status: 2, sense: None }), "the disk refuses (status 0x02)");
    }
}
