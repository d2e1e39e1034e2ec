//! An emulated disk that is spoken to in SCSI.

use std::time::Duration;

use super::super::device::{Device, DeviceError, Old};
use super::super::key::Key;
use super::super::scsi::codec::{self, In, Out, Parameters};
use super::super::scsi::{Data, Ended, Transport};
use super::Initiator;
use crate::resource::{Stop, Within};

impl Transport for Initiator {
    fn execute(&self, command: &[u8], data: Data<'_>, timeout: Duration) -> Result<Ended, DeviceError> {
        let within = Within::new(timeout, Stop::new()?);
        // What happened to this connection is said once, before anything else.
        if command.first() != Some(&INQUIRY) {
            let attention = &mut self.disk.state().attention;
            if let Some(at) = attention.iter().position(|nexus| *nexus == self.nexus) {
                attention.swap_remove(at);
                return Ok(Ended::checked(6, [0x2a, 5]));
            }
        }
        let result = match data {
            Data::In(room) => self.answer(command, &within).map(|answer| {
                room.iter_mut().zip(answer).for_each(|(to, from)| *to = from);
            }),
            Data::Out(bytes) => self.order(command, bytes, &within),
        };
        match result {
            Ok(()) => Ok(Ended::GOOD),
            Err(DeviceError::Conflict) => Ok(Ended::CONFLICT),
            Err(DeviceError::Unsupported(_)) => Ok(Ended::checked(5, [0x24, 0])),
            Err(other) => Err(other),
        }
    }
}

impl Initiator {
    fn answer(&self, command: &[u8], within: &Within) -> Result<Vec<u8>, DeviceError> {
        if let [INQUIRY, 1, page @ codec::SERIAL, ..] = *command {
            let serial = self.serial(within)?;
            return Ok([&[0, page, 0, u8::try_from(serial.len()).unwrap_or(0)], serial.as_bytes()].concat());
        }
        let (question, length) = In::parse(command).ok_or_else(illegal)?;
        let mut answer = match question {
            In::Keys => {
                let [keys, _] = codec::answers(&self.read(within)?);
                keys
            }
            In::Reservation => {
                let [_, reservation] = codec::answers(&self.read(within)?);
                reservation
            }
            In::Capabilities => {
                let persistent = u8::from(self.abilities(within)?.persistent);
                vec![0, 8, persistent, 0x80, 1 << codec::REGISTRANTS_ONLY, 0, 0, 0]
            }
        };
        answer.truncate(length.into());
        Ok(answer)
    }

    fn order(&self, command: &[u8], data: &[u8], within: &Within) -> Result<(), DeviceError> {
        let (order, kind) = Out::parse(command).ok_or_else(illegal)?;
        let Parameters { own, other, persistent } = Parameters::parse(data).ok_or_else(illegal)?;
        if persistent && !self.disk.0.features.persistent {
            return Err(illegal());
        }
        let (own, other) = (Key::new(own), Key::new(other));
        let with_kind = matches!(order, Out::Reserve | Out::Release | Out::Preempt | Out::PreemptAndAbort);
        if with_kind && kind != codec::REGISTRANTS_ONLY {
            return Err(illegal());
        }
        match (order, own, other) {
            (Out::Register, own, new) => self.register(own.map_or(Old::Nothing, Old::Key), new, within),
            (Out::RegisterAnyway, _, new) => self.register(Old::Anything, new, within),
            (Out::Reserve, Some(own), _) => self.reserve(own, within),
            (Out::Release, Some(own), _) => Device::release(self, own, within),
            (Out::Clear, Some(own), _) => self.clear(own, within),
            (Out::Preempt, Some(own), Some(victim)) => self.preempt(own, victim, false, within),
            (Out::PreemptAndAbort, Some(own), Some(victim)) => self.preempt(own, victim, true, within),
            (
                Out::Reserve | Out::Release | Out::Clear | Out::Preempt | Out::PreemptAndAbort,
                None | Some(_),
                None | Some(_),
            ) => Err(DeviceError::Conflict),
        }
    }
}

fn illegal() -> DeviceError {
    DeviceError::Unsupported("illegal request".to_owned())
}

const INQUIRY: u8 = 0x12;

#[cfg(test)]
mod tests {
    use super::super::super::scsi::ScsiDisk;
    use super::super::{Disk, Features};
    use super::*;

    fn within() -> anyhow::Result<Within> {
        Ok(Within::new(Duration::from_secs(20), Stop::new()?))
    }

    #[test]
    fn what_is_said_in_scsi_arrives() -> anyhow::Result<()> {
        let within = within()?;
        let disk = Disk::new("S1", Features { persistent: false, abort: false, ..Features::default() });
        let scsi = |nexus| ScsiDisk::new("x", Box::new(disk.connect(nexus)));
        let (a, b) = (scsi(1), scsi(2));
        let [one, two, three] = [1, 2, 3].map(|raw| Key::new(raw).expect("not zero"));
        assert_eq!(a.serial(&within)?, "S1");
        assert_eq!(a.abilities(&within)?.registrants_only, Some(true));
        // The disk does not remember without power: it is asked again without that.
        a.register(Old::Nothing, Some(one), &within)?;
        assert_eq!(a.register(Old::Nothing, Some(one), &within), Err(DeviceError::Conflict));
        a.reserve(one, &within)?;
        b.register(Old::Anything, Some(two), &within)?;
        assert_eq!(b.reserve(two, &within), Err(DeviceError::Conflict));
        assert!(matches!(b.preempt(two, one, true, &within), Err(DeviceError::Unsupported(_))));
        b.preempt(two, one, false, &within)?;
        assert!(disk.may_write(2) && !disk.may_write(1));
        assert_eq!(a.read(&within)?, disk.registrations(), "after a unit attention");
        b.register(Old::Key(two), Some(three), &within)?;
        assert_eq!(b.read(&within)?.holder.and_then(|holder| holder.key), Some(three));
        b.release(three, &within)?;
        assert_eq!(b.read(&within)?.holder, None);
        b.clear(three, &within)?;
        assert!(b.read(&within)?.keys.is_empty());
        Ok(())
    }

    #[test]
    fn more_keys_than_expected_are_read_all_the_same() -> anyhow::Result<()> {
        let within = within()?;
        let disk = Disk::new("S1", Features::default());
        for nexus in 1..200 {
            disk.connect(nexus).register(Old::Nothing, Key::new(nexus.into()), &within)?;
        }
        let read = ScsiDisk::new("x", Box::new(disk.connect(1))).read(&within)?;
        assert_eq!(read, disk.registrations());
        assert_eq!(read.keys.len(), 199);
        Ok(())
    }
}
