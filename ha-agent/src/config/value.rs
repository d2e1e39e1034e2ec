//! Strings of the configuration that mean something: names, files, durations. Addresses are in `address`.

use std::path::PathBuf;
use std::time::Duration;

use super::mistake::Mistake;
use super::quote::Excerpt;
use super::schema::Key;

/// A node's or a virtual host's name, fit for a log line and for a shell.
pub(super) fn name(key: &'static str, text: &str) -> Result<String, Mistake> {
    let valid = (1..=NAME_LIMIT).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if valid { Ok(text.into()) } else { Err(Mistake::Name { key, name: Excerpt::new(text) }) }
}

/// An interface name by the kernel's rules, and without control characters.
pub(super) fn interface(text: &str) -> Result<String, Mistake> {
    let forbidden = |c: char| matches!(c, '/' | ':') || c.is_whitespace() || c.is_control();
    let valid = (1..=INTERFACE_LIMIT).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.contains(forbidden);
    if valid { Ok(text.into()) } else { Err(Mistake::Interface(Excerpt::new(text))) }
}

/// A path to a file; whether there is one shows when it is read.
pub(super) fn file_path(text: &str) -> Result<PathBuf, Mistake> {
    let valid = !text.is_empty() && !text.contains('\0');
    if valid { Ok(text.into()) } else { Err(Mistake::PassphrasePath(Excerpt::new(text))) }
}

/// A path to the file that this key names; whether there is one shows when it is read.
pub(super) fn named_file(key: &'static Key, text: &str) -> Result<PathBuf, Mistake> {
    let valid = !text.is_empty() && !text.contains(char::is_control);
    let Key { name, example } = *key;
    if valid {
        Ok(text.into())
    } else {
        Err(Mistake::FilePath { key: name, text: Excerpt::new(text), example })
    }
}

/// The name of a header, as in HTTP (RFC 9110 §5.1).
pub(super) fn header(text: &str) -> Result<String, Mistake> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let valid = (1..=NAME_LIMIT).contains(&text.len()) && text.bytes().all(is_token);
    if valid { Ok(text.into()) } else { Err(Mistake::Header(Excerpt::new(text))) }
}

/// The name of a host, in small letters.
pub(super) fn host(text: &str) -> Result<String, Mistake> {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let valid = (1..=HOST_LIMIT).contains(&text.len()) && text.bytes().all(is_of_name);
    if valid { Ok(text.to_ascii_lowercase()) } else { Err(Mistake::Host(Excerpt::new(text))) }
}

/// A key in etcd: fit for a log line and for a shell.
pub(super) fn etcd_key(text: &str) -> Result<String, Mistake> {
    let valid =
        (1..=ETCD_KEY_LIMIT).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if valid { Ok(text.into()) } else { Err(Mistake::EtcdKey(Excerpt::new(text))) }
}

/// A path to a directory; whether there is one shows when it is used.
pub(super) fn directory(text: &str) -> Result<PathBuf, Mistake> {
    let valid = !text.is_empty() && !text.contains(char::is_control);
    if valid { Ok(text.into()) } else { Err(Mistake::DirectoryPath(Excerpt::new(text))) }
}

/// A path to the file that the agent keeps what is shared in.
pub(super) fn shared(text: &str) -> Result<PathBuf, Mistake> {
    let valid = !text.is_empty() && !text.ends_with('/') && !text.contains(char::is_control);
    if valid { Ok(text.into()) } else { Err(Mistake::SharedPath(Excerpt::new(text))) }
}

/// A key whose value is a duration.
#[derive(Debug)]
pub(super) struct Timing {
    pub(super) key: &'static str,
    /// What it is called in a sentence.
    pub(super) subject: &'static str,
    pub(super) examples: &'static str,
    pub(super) min: Duration,
    pub(super) max: Duration,
}

pub(super) static INTERVAL: Timing = Timing {
    key: "interval",
    subject: "an interval",
    examples: "'10ms', '1500us' or '1s'",
    min: Duration::from_millis(1),
    max: Duration::from_mins(1),
};

pub(super) static CLOCK_DIFFERENCE: Timing = Timing {
    key: "clock_difference",
    subject: "clock_difference",
    examples: "'500ms' or '2s'",
    min: Duration::from_millis(100),
    max: Duration::from_mins(1),
};

pub(super) static ANNOUNCE_EVERY: Timing = Timing {
    key: "announce_every",
    subject: "announce_every",
    examples: "'60s' or '5min'",
    min: Duration::from_secs(1),
    max: Duration::from_hours(1),
};

pub(super) static HEARTBEAT: Timing = Timing {
    key: "heartbeat",
    subject: "heartbeat",
    examples: "'200ms' or '1s'",
    min: Duration::from_millis(50),
    max: Duration::from_secs(10),
};

pub(super) static LEASE: Timing = Timing {
    key: "lease",
    subject: "a lease",
    examples: "'3s' or '10s'",
    min: Duration::from_secs(2),
    max: Duration::from_mins(1),
};

pub(super) static DISK_HEARTBEAT: Timing = Timing {
    key: "disk_heartbeat",
    subject: "disk_heartbeat",
    examples: "'200ms' or '1s'",
    min: Duration::from_millis(50),
    max: Duration::from_secs(10),
};

pub(super) static TAKE: Timing = Timing {
    key: "take",
    subject: "the time to take it over",
    examples: "'60s' or '5min'",
    min: Duration::from_secs(1),
    max: Duration::from_hours(1),
};

pub(super) static RELEASE: Timing = Timing {
    key: "release",
    subject: "the time to release it",
    examples: "'30s' or '2min'",
    min: Duration::from_secs(1),
    max: Duration::from_hours(1),
};

pub(super) static LENGTH: Timing = Timing {
    key: "length",
    subject: "length",
    examples: "'500ms', '2s' or 'off'",
    min: Duration::from_millis(200),
    max: Duration::from_mins(1),
};

pub(super) static CPU_DMA_LATENCY: Timing = Timing {
    key: "cpu_dma_latency",
    subject: "cpu_dma_latency",
    examples: "'0us', '50us' or 'leave'",
    min: Duration::ZERO,
    max: Duration::from_millis(10),
};

/// An integer with its unit: `us`, `ms`, `s`, `min` or `h`.
pub(super) fn duration(text: &str, timing: &'static Timing) -> Result<Duration, Mistake> {
    let syntax = || Mistake::DurationSyntax { timing, text: Excerpt::new(text) };
    let unit_start = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(syntax)?;
    let (number, unit) = text.split_at(unit_start);
    let microseconds_each = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        // Not `m`: it is too near to `ms`.
        "min" => 60_000_000,
        "h" => 3_600_000_000,
        _ => return Err(syntax()),
    };
    let number = decimal(number).ok_or_else(syntax)?;
    let duration = Duration::from_micros(number.saturating_mul(microseconds_each));
    if (timing.min..=timing.max).contains(&duration) {
        Ok(duration)
    } else {
        Err(Mistake::DurationRange { timing, text: Excerpt::new(text) })
    }
}

/// Digits only; a number too large for 64 bits is as good as the largest.
pub(super) fn decimal(digits: &str) -> Option<u64> {
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Characters in a name.
pub(super) const NAME_LIMIT: usize = 64;

/// Characters of a key in etcd.
pub(super) const ETCD_KEY_LIMIT: usize = 256;
/// Characters in a host name (RFC 1035).
const HOST_LIMIT: usize = 253;

/// The kernel's `IFNAMSIZ` without the NUL.
const INTERFACE_LIMIT: usize = 15;
