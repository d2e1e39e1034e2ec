//! The name of a path to a disk. An iSCSI initiator is known to the target by its name and six bytes of its session (ISID,
//! RFC 7143, 11.12.5). QEMU takes new ones whenever it starts; a SAS card keeps its address when a machine boots anew, and
//! with it what it has registered. So the relay puts in the same bytes each time.

use std::io::{self, Read, Write};

use super::units::{self, HEADER};

/// Hands on what an initiator says from `from` to `to`, until it is logged in, with `isid` in the place of its own.
///
/// # Errors
///
/// Either of them ends.
pub(super) fn hand_on(from: &mut impl Read, to: &mut impl Write, isid: [u8; 6]) -> io::Result<()> {
    loop {
        let mut header = [0; HEADER];
        from.read_exact(&mut header)?;
        let login = header[0] & OPCODE == LOGIN;
        if login {
            header[ISID..][..isid.len()].copy_from_slice(&isid);
        }
        let rest = units::rest(&header) as u64;
        let mut unit = Vec::from(header);
        if from.take(rest).read_to_end(&mut unit)? as u64 != rest {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all(&unit)?;
        if !login {
            return Ok(());
        }
    }
}

const ISID: usize = 8;
const OPCODE: u8 = 0x3f;
const LOGIN: u8 = 0x03;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_logins_are_changed() {
        let unit = |opcode: u8, data: u8| {
            let mut unit = vec![0x55; HEADER + usize::from(data).next_multiple_of(4)];
            unit[..8].copy_from_slice(&[opcode, 0x87, 0, 0, 0, 0, 0, data]);
            unit
        };
        let said = [unit(0x43, 5), unit(0x03, 0), unit(0x01, 3), unit(0x43, 0)].concat();
        let (mut from, mut to) = (said.as_slice(), Vec::new());
        hand_on(&mut from, &mut to, *b"isid!!").unwrap();
        // What comes after it is logged in is left to others.
        assert_eq!(from, unit(0x43, 0));
        let mut expected = said[..said.len() - HEADER].to_vec();
        for start in [0, HEADER + 8] {
            expected[start + ISID..][..6].copy_from_slice(b"isid!!");
        }
        assert_eq!(to, expected);
        assert!(hand_on(&mut &said[..50], &mut Vec::new(), [0; 6]).is_err());
    }
}
