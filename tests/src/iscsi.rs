//! As much of an iSCSI initiator as it takes to send SCSI commands (RFC 7143): one session, one connection, no digests, one
//! command at a time, all data with the command.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// A session with one logical unit of a target. It ends when dropped.
#[derive(Debug)]
pub struct Initiator {
    session: Mutex<Session>,
    unit: u8,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The SCSI status.
    pub status: u8,
    /// The sense data, if there are any.
    pub sense: Vec<u8>,
    /// How many bytes came.
    pub received: usize,
}

/// What goes with a command.
#[derive(Debug)]
pub enum Data<'a> {
    /// Room for what comes.
    In(&'a mut [u8]),
    /// What is sent.
    Out(&'a [u8]),
}

#[derive(Debug)]
struct Session {
    stream: TcpStream,
    /// `CmdSN` of the next command.
    command: u32,
    /// `ExpStatSN`: the next status.
    status: u32,
    /// The tag of the next task.
    tag: u32,
}

/// A protocol data unit: its header, and its data without padding.
struct Pdu {
    header: [u8; HEADER],
    data: Vec<u8>,
}

impl Initiator {
    /// Logs in.
    ///
    /// # Errors
    ///
    /// If the target can't be reached, or refuses.
    pub fn connect(target: SocketAddrV4, initiator_name: &str, target_name: &str, unit: u8) -> Result<Self> {
        let stream = TcpStream::connect(target)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut session = Session { stream, command: 1, status: 0, tag: 1 };
        session.log_in(initiator_name, target_name)?;
        Ok(Self { session: Mutex::new(session), unit })
    }

    /// Has a command executed.
    ///
    /// # Errors
    ///
    /// If the connection breaks, or the target does not answer.
    pub fn execute(&self, command: &[u8], data: Data<'_>) -> Result<Answer> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.execute(self.unit, command, data)
    }
}

impl Session {
    /// Goes to the full feature phase at once: nobody asks who we are.
    fn log_in(&mut self, initiator_name: &str, target_name: &str) -> Result<()> {
        let pairs = [
            ("InitiatorName", initiator_name),
            ("TargetName", target_name),
            ("SessionType", "Normal"),
            ("HeaderDigest", "None"),
            ("DataDigest", "None"),
            ("InitialR2T", "No"),
            ("ImmediateData", "Yes"),
            ("MaxRecvDataSegmentLength", "65536"),
            ("MaxConnections", "1"),
            ("ErrorRecoveryLevel", "0"),
        ];
        let mut text: String = pairs.iter().flat_map(|(key, value)| [*key, "=", *value, "\0"]).collect();
        for _ in 0..4 {
            let mut header = [0; HEADER];
            (header[0], header[1]) = (LOGIN | IMMEDIATE, TRANSIT_TO_FULL_FEATURE);
            // The initiator's part of the session's name: random, by RFC 7143, 11.12.5. What counts is the initiator's name.
            header[8] = 0x80;
            self.stamp(&mut header, self.command);
            self.send(header, text.as_bytes())?;
            let answer = self.receive()?;
            ensure!(answer.header[0] & OPCODE == LOGIN_RESPONSE, "opcode {:#x}", answer.header[0]);
            ensure!(answer.header[36] == 0, "the target refuses: {:02x?}", &answer.header[36..38]);
            self.status = number(&answer.header, 24).wrapping_add(1);
            self.command = number(&answer.header, 28);
            if answer.header[1] & TRANSIT_TO_FULL_FEATURE == TRANSIT_TO_FULL_FEATURE {
                return Ok(());
            }
            text.clear();
        }
        bail!("the login does not end")
    }

    fn execute(&mut self, unit: u8, command: &[u8], data: Data<'_>) -> Result<Answer> {
        let mut header = [0; HEADER];
        let (direction, length) = match &data {
            Data::In(room) => (READ, room.len()),
            Data::Out(bytes) => (if bytes.is_empty() { 0 } else { WRITE }, bytes.len()),
        };
        (header[0], header[1], header[9]) = (COMMAND, FINAL | direction | SIMPLE, unit);
        header[20..24].copy_from_slice(&u32::try_from(length)?.to_be_bytes());
        header[32..].get_mut(..command.len()).context("a long command")?.copy_from_slice(command);
        self.stamp(&mut header, self.command);
        self.command = self.command.wrapping_add(1);
        match data {
            Data::In(room) => {
                self.send(header, &[])?;
                self.answer(room)
            }
            Data::Out(bytes) => {
                self.send(header, bytes)?;
                self.answer(&mut [])
            }
        }
    }

    fn answer(&mut self, room: &mut [u8]) -> Result<Answer> {
        let mut received = 0;
        loop {
            let Pdu { header, data } = self.receive()?;
            match header[0] & OPCODE {
                DATA_IN => {
                    let at = usize::try_from(number(&header, 40))?;
                    let place = room.get_mut(at..at + data.len()).context("more data than there is room")?;
                    place.copy_from_slice(&data);
                    received = received.max(at + data.len());
                    if header[1] & STATUS_TOO != 0 {
                        self.status = number(&header, 24).wrapping_add(1);
                        return Ok(Answer { status: header[3], sense: Vec::new(), received });
                    }
                }
                RESPONSE => {
                    self.status = number(&header, 24).wrapping_add(1);
                    ensure!(header[2] == 0, "the target failed: {:#x}", header[2]);
                    // Their length stands before them.
                    let sense = data.get(2..).unwrap_or_default().to_vec();
                    return Ok(Answer { status: header[3], sense, received });
                }
                NOP_IN => self.answer_nop(&header)?,
                other => bail!("opcode {other:#x} was not expected"),
            }
        }
    }

    /// The target asks whether we live, if it gives a tag for the answer.
    fn answer_nop(&mut self, asked: &[u8; HEADER]) -> Result<()> {
        if asked[20..24] == NO_TAG {
            return Ok(());
        }
        let mut header = [0; HEADER];
        (header[0], header[1]) = (NOP_OUT | IMMEDIATE, FINAL);
        header[8..16].copy_from_slice(&asked[8..16]);
        self.stamp(&mut header, self.command);
        header[16..20].copy_from_slice(&NO_TAG);
        header[20..24].copy_from_slice(&asked[20..24]);
        self.send(header, &[])
    }

    /// Gives it a tag, and says what was sent and received so far.
    fn stamp(&mut self, header: &mut [u8; HEADER], command: u32) {
        header[16..20].copy_from_slice(&self.tag.to_be_bytes());
        header[24..28].copy_from_slice(&command.to_be_bytes());
        header[28..32].copy_from_slice(&self.status.to_be_bytes());
        self.tag = self.tag.wrapping_add(1);
    }

    fn send(&mut self, mut header: [u8; HEADER], data: &[u8]) -> Result<()> {
        header[4..8].copy_from_slice(&u32::try_from(data.len())?.to_be_bytes());
        let padding = vec![0; data.len().next_multiple_of(4) - data.len()];
        Ok(self.stream.write_all(&[&header[..], data, &padding].concat())?)
    }

    fn receive(&mut self) -> Result<Pdu> {
        let mut header = [0; HEADER];
        self.stream.read_exact(&mut header)?;
        // The highest byte is the length of additional headers, in words.
        let length = number(&header, 4);
        let additional = usize::try_from(length >> 24)? * 4;
        let length = usize::try_from(length & 0x00ff_ffff)?;
        let mut data = vec![0; additional + length.next_multiple_of(4)];
        self.stream.read_exact(&mut data)?;
        data.truncate(additional + length);
        Ok(Pdu { header, data: data.split_off(additional) })
    }
}

fn number(header: &[u8; HEADER], at: usize) -> u32 {
    header[at..at + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

const HEADER: usize = 48;
// Opcodes.
const OPCODE: u8 = 0x3f;
const IMMEDIATE: u8 = 0x40;
const NOP_OUT: u8 = 0x00;
const COMMAND: u8 = 0x01;
const LOGIN: u8 = 0x03;
const NOP_IN: u8 = 0x20;
const RESPONSE: u8 = 0x21;
const LOGIN_RESPONSE: u8 = 0x23;
const DATA_IN: u8 = 0x25;
// Flags.
const FINAL: u8 = 0x80;
const READ: u8 = 0x40;
const WRITE: u8 = 0x20;
const SIMPLE: u8 = 0x01;
const STATUS_TOO: u8 = 0x01;
const TRANSIT_TO_FULL_FEATURE: u8 = 0x87;
const NO_TAG: [u8; 4] = [0xff; 4];

const PATIENCE: Duration = Duration::from_secs(20);
