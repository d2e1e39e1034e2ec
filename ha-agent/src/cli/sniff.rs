//! `ha-agent sniff`

use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};

use super::exit::Exit;
use super::fail;
use crate::agent::AgentError;
use crate::config::{self, ConfigError};
use crate::net::link::Monitor;
use crate::sniff::keys::Keys;
use crate::sniff::live::Tap;
use crate::sniff::recording::{Recording, RecordingError};
use crate::sniff::{Received, Sniffer};

/// Arguments of `sniff`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    from: From,
    /// With which digests are checked: a file whose first line is the passphrase. May be given twice.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Vec<PathBuf>,
    /// A virtual address, which digests cover. To be given for each of a virtual host, in any order.
    #[arg(long = "address", value_name = "ADDRESS")]
    addresses: Vec<IpAddr>,
    /// Take passphrases, addresses and mode of the virtual hosts from a configuration.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// End after so many frames on protocol 112.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print each frame as a JSON object on a line of its own.
    #[arg(long)]
    json: bool,
}

/// Where frames come from.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct From {
    /// Listen on this interface, until SIGINT or SIGTERM.
    #[arg(short, long, value_name = "INTERFACE")]
    interface: Option<String>,
    /// Read a recording (pcap or pcapng).
    #[arg(short, long, value_name = "FILE")]
    read: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Exit {
    let keys = match keys(args) {
        Ok(keys) => keys,
        Err(error) => return fail(&error, error.exit()),
    };
    let mut shown = Shown {
        sniffer: Sniffer::new(keys),
        json: args.json,
        left: args.count.unwrap_or(u64::MAX),
        to: BufWriter::new(io::stdout().lock()),
        counts: Counts::default(),
    };
    if shown.left == 0 {
        return Exit::Ok;
    }
    let exit = match (&args.from.interface, &args.from.read) {
        (Some(interface), _) => live(interface, &mut shown),
        (None, Some(path)) => recorded(path, &mut shown),
        // The command line has one of them.
        (None, None) => Exit::Usage,
    };
    shown.sum_up();
    exit
}

fn keys(args: &Args) -> Result<Keys, ConfigError> {
    let mut keys = Keys::default();
    for path in &args.passphrase_file {
        let (passphrase, warning) = config::passphrase(path)?;
        if let Some(warning) = warning {
            tracing::warn!("{warning}");
        }
        keys = keys.with_passphrase(passphrase.as_bytes());
    }
    if !args.addresses.is_empty() {
        keys = keys.with_addresses(&args.addresses);
    }
    match &args.config {
        Some(path) => Ok(keys.with_config(&config::load(path)?, |_| true)),
        None => Ok(keys),
    }
}

fn recorded(path: &Path, shown: &mut Shown<impl Write>) -> Exit {
    let name = path.display();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => {
            let exit = match error.kind() {
                ErrorKind::PermissionDenied => Exit::NoPermission,
                _ => Exit::Unavailable,
            };
            return fail(&format!("{name}: {error}; name a recording (pcap or pcapng)"), exit);
        }
    };
    match read(file, shown) {
        Ok(0) => Exit::Ok,
        Ok(left_out) => {
            shown.flush();
            tracing::warn!(
                "{name}: {left_out} frames are of a kind that is not understood, and were left out"
            );
            Exit::Ok
        }
        Err(error) => {
            shown.flush();
            let exit = match error {
                RecordingError::Io => Exit::Os,
                RecordingError::NoRecording
                | RecordingError::Link(_)
                | RecordingError::CutOff(_)
                | RecordingError::Damaged(_) => Exit::Data,
            };
            fail(&format!("{name}: {error}"), exit)
        }
    }
}

/// Returns how many frames were not understood.
fn read(file: File, shown: &mut Shown<impl Write>) -> Result<u64, RecordingError> {
    let mut recording = Recording::open(BufReader::new(file))?;
    while let Some(goes_on) = recording.next(|received| shown.show(received))? {
        if !goes_on {
            break;
        }
    }
    Ok(recording.not_understood())
}

fn live(interface: &str, shown: &mut Shown<impl Write>) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("no runtime: {error}; look at `ulimit -a`"), Exit::Os),
    };
    match runtime.block_on(listen(interface, shown)) {
        Ok(()) => Exit::Ok,
        Err(LiveError::NoInterface(name)) => fail(
            &format!("interface {name} does not exist; `ip link` lists those that do"),
            Exit::Unavailable,
        ),
        Err(LiveError::Agent(error)) => fail(&error, error.exit()),
        Err(LiveError::Io(error)) if error.kind() == ErrorKind::PermissionDenied => {
            fail(&"no right to listen: CAP_NET_RAW missing; run as root", Exit::NoPermission)
        }
        Err(LiveError::Io(error)) => {
            fail(&format!("listening on {interface} failed: {error}; is it still there?"), Exit::Os)
        }
    }
}

/// Why nothing can be heard.
enum LiveError {
    NoInterface(String),
    Agent(AgentError),
    Io(io::Error),
}

impl std::convert::From<io::Error> for LiveError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

async fn listen(interface: &str, shown: &mut Shown<impl Write>) -> Result<(), LiveError> {
    let (mut interrupted, mut told) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let found =
        Monitor::open()?.interfaces().await.map_err(|error| LiveError::Agent(AgentError::Netlink(error)))?;
    let index = found.get(interface).ok_or_else(|| LiveError::NoInterface(interface.to_owned()))?.index;
    let tap = Tap::open(index)?;
    // Also when nobody speaks, it is known when it began.
    tracing::info!("listening on {interface}");
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = told.recv() => {}
        heard = tap.hear(|received| {
            let goes_on = shown.show(received);
            shown.flush();
            goes_on
        }) => heard?,
    }
    Ok(())
}

/// Where it is printed. For a reader that went away (`| head`), it ends.
struct Shown<W> {
    sniffer: Sniffer,
    json: bool,
    /// How many are still to be shown.
    left: u64,
    to: W,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    frames: u64,
    carp: u64,
    right: u64,
    wrong: u64,
    others: u64,
}

impl<W: Write> Shown<W> {
    /// Returns whether more is to be shown.
    fn show(&mut self, received: &Received<'_>) -> bool {
        self.counts.frames += 1;
        let Some(sighting) = self.sniffer.see(received) else { return true };
        match (sighting.vhid, sighting.authentic) {
            (None, _) => self.counts.others += 1,
            (Some(_), authentic) => {
                self.counts.carp += 1;
                self.counts.right += u64::from(authentic == Some(true));
                self.counts.wrong += u64::from(authentic == Some(false));
            }
        }
        let written = if self.json {
            // What is seen has a form in JSON.
            writeln!(self.to, "{}", serde_json::to_string(&sighting).unwrap_or_default())
        } else {
            writeln!(self.to, "{sighting}")
        };
        self.left -= 1;
        written.is_ok() && self.left > 0
    }

    fn sum_up(&mut self) {
        if !self.json {
            let Counts { frames, carp, right, wrong, others } = self.counts;
            let rest = frames - carp - others;
            // Whoever went away has what he wanted.
            let _ = writeln!(
                self.to,
                "{carp} advertisements, digest right in {right} and wrong in {wrong}; {others} others on protocol 112; \
                 {rest} other frames"
            );
        }
        self.flush();
    }

    fn flush(&mut self) {
        // As above.
        let _ = self.to.flush();
    }
}
