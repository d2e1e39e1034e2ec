//! A client that writes records of 512 bytes, one after the other, each on the disk before the next one; and that
//! checks afterwards whether all are there that it was told are.
//!
//! ```text
//! records write FILE ACKNOWLEDGED [COUNT]   until COUNT, or for ever; FILE is a file or a block device
//! records check FILE ACKNOWLEDGED           every record up to the last acknowledged one
//! records locked FILE                       whether somebody else has the file locked, as `write` does
//! ```
//!
//! `write` prints a line for each answer that took longer than a second, and appends each acknowledged record's number to
//! the file ACKNOWLEDGED, which is to be on the client's own disk. It has FILE locked all the time. An error ends
//! it. `check` prints what it found.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, Error, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["write", file, acknowledged] => write(file, acknowledged, u64::MAX),
        ["write", file, acknowledged, count] => match count.parse() {
            Ok(count) => write(file, acknowledged, count),
            Err(_) => return usage(),
        },
        ["check", file, acknowledged] => check(file, acknowledged),
        ["locked", file] => locked(file),
        _ => return usage(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("records write FILE ACKNOWLEDGED [COUNT] | check FILE ACKNOWLEDGED");
    ExitCode::from(2)
}

fn write(path: &str, acknowledged: &str, count: u64) -> io::Result<()> {
    let mut options = OpenOptions::new();
    // A device is there already, and is not made shorter.
    let file =
        options.write(true).create(true).truncate(false).custom_flags(OFlag::O_SYNC.bits()).open(path)?;
    fcntl(&file, FcntlArg::F_SETLK(&LOCK))
        .map_err(|error| Error::other(format!("{path} can't be locked: {error}")))?;
    let mut numbers = File::create(acknowledged)?;
    for number in 0..count {
        let began = Instant::now();
        let written = file.write_all_at(&record(number), number * SIZE as u64);
        let took = began.elapsed();
        written.map_err(|error| Error::other(format!("record {number} after {took:?}: {error}")))?;
        if took > LONG {
            println!("record {number} took {:.2} s", took.as_secs_f64());
        }
        writeln!(numbers, "{number}")?;
    }
    Ok(())
}

fn check(path: &str, acknowledged: &str) -> io::Result<()> {
    let numbers = std::fs::read_to_string(acknowledged)?;
    // The last line may be half written, where the client was killed: a whole one ends.
    let whole = numbers.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let expected = whole.lines().next_back().map_or(0, |last| last.parse().map_or(0, |last: u64| last + 1));
    let file = File::open(path)?;
    let mut found = [0; SIZE];
    for number in 0..expected {
        file.read_exact_at(&mut found, number * SIZE as u64)
            .map_err(|error| Error::other(format!("record {number} of {expected}: {error}")))?;
        if !is_record(&found, number) {
            return Err(Error::other(format!("record {number} of {expected} is not what was written")));
        }
    }
    println!("{expected} records are there");
    Ok(())
}

fn locked(path: &str) -> io::Result<()> {
    let mut found = LOCK;
    fcntl(&File::open(path)?, FcntlArg::F_GETLK(&mut found))?;
    if i32::from(found.l_type) == libc::F_UNLCK {
        return Err(Error::other("nobody has it locked"));
    }
    println!("somebody has it locked");
    Ok(())
}

/// Its number and the time, and words that follow from both.
fn record(number: u64) -> [u8; SIZE] {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    filled(number, u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

fn is_record(bytes: &[u8; SIZE], number: u64) -> bool {
    let (words, _) = bytes.as_chunks::<8>();
    let time = words.get(1).map_or(0, |word| u64::from_le_bytes(*word));
    *bytes == filled(number, time)
}

fn filled(number: u64, time: u64) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    let (words, _) = bytes.as_chunks_mut::<8>();
    let mut state = number ^ time.rotate_left(32);
    for (index, word) in words.iter_mut().enumerate() {
        // Steele, Lea, Flood: SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        *word = match index {
            0 => number,
            1 => time,
            _ => mixed ^ (mixed >> 31),
        }
        .to_le_bytes();
    }
    bytes
}

/// The whole file, for writing.
#[expect(clippy::cast_possible_truncation, reason = "the system gives small numbers a wide type")]
const LOCK: libc::flock = libc::flock {
    l_type: libc::F_WRLCK as libc::c_short,
    l_whence: libc::SEEK_SET as libc::c_short,
    l_start: 0,
    l_len: 0,
    l_pid: 0,
};
const SIZE: usize = 512;
const LONG: Duration = Duration::from_secs(1);
