//! What can be wrong with a witness, and what helps.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::exit::Exit;
use crate::config::Url;
use crate::config::file::FileProblem;
use crate::config::quote::{OneLine, ShellPath};

/// Why the witness did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// No connection.
    #[error("{url} can't be reached: {cause}; check etcd there, and the way to it")]
    Unreachable {
        /// Where.
        url: Url,
        /// The system's error.
        cause: io::Error,
    },
    /// Too slow.
    #[error("{url} has not answered within {limit:?}; check etcd there, its disk, and the way to it")]
    Late {
        /// Where.
        url: Url,
        /// What a request may take.
        limit: Duration,
    },
    /// TLS fails.
    #[error(
        "{url} and this node do not trust each other: {cause}; check ca_file, cert_file and key_file, and that etcd's \
        certificate names this address"
    )]
    Untrusted {
        /// Where.
        url: Url,
        /// What TLS says.
        cause: io::Error,
    },
    /// The connection broke.
    #[error(
        "{url} broke the connection: {}; check etcd there, and whether it wants cert_file and key_file",
        Chain(cause)
    )]
    Broken {
        /// Where.
        url: Url,
        /// The library's error.
        cause: hyper::Error,
    },
    /// HTTP 401 or 403.
    #[error(
        "{url} refuses this node (HTTP {status}): its users have passwords, which ha-agent does not know; use an etcd without \
         `auth enable`, behind TLS with client certificates"
    )]
    Forbidden {
        /// Where.
        url: Url,
        /// The status.
        status: u16,
    },
    /// Another status that is none of success.
    #[error("{url} refuses (HTTP {status}): {}; look at etcd's log", OneLine(message))]
    Refused {
        /// Where.
        url: Url,
        /// The status.
        status: u16,
        /// What it says, cut.
        message: String,
    },
    /// An answer that makes no sense.
    #[error(
        "{url} does not answer as etcd's JSON interface does: {}; is it etcd 3.4 or newer?",
        OneLine(what)
    )]
    NotEtcd {
        /// Where.
        url: Url,
        /// What is wrong.
        what: String,
    },
    /// A long answer.
    #[error("{url} answers with more than {limit} bytes; is it etcd?")]
    TooLong {
        /// Where.
        url: Url,
        /// What is read.
        limit: usize,
    },
    /// No answer to an echo request.
    #[error(
        "the gateway {address} has not answered an echo request within {limit:?}; check it, and the way to it"
    )]
    NoEcho {
        /// Whose.
        address: IpAddr,
        /// What it may take.
        limit: Duration,
    },
    /// No echo request leaves.
    #[error("no echo request leaves for the gateway {address}: {cause}; check the route to it")]
    NotSent {
        /// Whose.
        address: IpAddr,
        /// The system's error.
        cause: io::Error,
    },
}

/// Why the files for TLS can't be used.
#[derive(Debug, thiserror::Error)]
pub enum WitnessFileError {
    /// It was not read.
    #[error("the witness's file {} {problem}; name a file that can be read in {key}", ShellPath(path))]
    File {
        /// The key that names it.
        key: &'static str,
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: FileProblemShown,
    },
    /// There is nothing in it that is needed.
    #[error(
        "the witness's file {} has no {what} in PEM form that can be used: {}; name another in {key}",
        ShellPath(path),
        OneLine(why)
    )]
    Content {
        /// The key that names it.
        key: &'static str,
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why it was not found.
        why: String,
    },
}

/// An error with its causes: the first alone says little.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut next = Some(self.0);
        let mut text = String::new();
        while let Some(error) = next {
            let separator = if text.is_empty() { "" } else { ": " };
            text += separator;
            text += &error.to_string();
            next = error.source();
        }
        OneLine(&text).fmt(f)
    }
}

/// A problem with a file, to be shown.
#[derive(Debug)]
pub struct FileProblemShown(pub(super) FileProblem);

impl std::fmt::Display for FileProblemShown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl WitnessFileError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::File { problem, .. } => problem.0.exit(),
            Self::Content { .. } => Exit::Config,
        }
    }
}
