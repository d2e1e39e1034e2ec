//! The part of the configuration that the two nodes of a pair share: one document with a version.
//!
//! Its text is TOML, kept as it was written, with its comments. It has the keys that must be the same on both nodes; what
//! each node has for itself stays in its own file.

mod file;
mod merge;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toml::Spanned;

pub use self::file::{SharedFileError, read, write};
pub(super) use self::merge::merge;
use super::document::Document;
use super::error::ConfigError;
use super::table::Table;
use super::{schema, value};
pub use crate::core::shared::LAYOUT;
use crate::core::shared::Standing;

/// A version of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// The form that it is written in: [`LAYOUT`], or that of an older agent.
    pub layout: u32,
    /// Counts the changes, from 1.
    pub version: u64,
    /// The last version that both nodes agreed on; 0: none yet.
    pub agreed: u64,
    /// The node that it was changed on.
    pub by: String,
    /// The hash of a text of the peer's that it stands in for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// The TOML: [`TEXT_LIMIT`] bytes at most.
    pub text: String,
}

impl Shared {
    /// The first version.
    #[must_use]
    pub fn first(by: String, text: String) -> Self {
        Self { layout: LAYOUT, version: 1, agreed: 0, by, replaces: None, text }
    }

    /// Refuses what nobody makes.
    ///
    /// # Errors
    ///
    /// What is wrong, in a few words.
    pub fn checked(self) -> Result<Self, String> {
        if self.version == 0 || self.agreed > self.version {
            return Err(format!("version {}, of which {} was agreed", self.version, self.agreed));
        }
        value::name("by", &self.by).map_err(|mistake| mistake.to_string())?;
        Ok(self)
    }

    /// What is compared of it.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            layout: self.layout,
            version: self.version,
            agreed: self.agreed,
            digest: digest(&self.text),
            replaces: self.replaces.clone(),
        }
    }
}

/// The hash of a text.
#[must_use]
pub fn digest(text: &str) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text) {
        hex.extend([byte >> 4, byte & 0xf].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
    }
    hex
}

/// Where it is, if the configuration in `path` shares anything.
pub(super) fn file(path: &Path, own: &Document<'_>) -> Result<Option<PathBuf>, ConfigError> {
    let tree = own.parse()?;
    let peer = tree.get_ref().get(schema::PEER.name);
    let Some((peer, entries)) = peer.and_then(|peer| Some((peer, peer.get_ref().as_table()?))) else {
        return Ok(None);
    };
    // All else of the table is judged later, with all other tables.
    if !entries.contains_key(schema::SHARED.name) {
        return Ok(None);
    }
    let table = Table::new(own, &schema::PEER_TABLE, &Spanned::new(peer.span(), entries))?;
    let name = table.optional_text(&schema::SHARED, value::shared)?;
    Ok(name.map(|name| path.parent().unwrap_or(Path::new("")).join(name.into_inner())))
}

/// Bytes of the text: what goes over the link in one message.
pub const TEXT_LIMIT: usize = 48 * 1024;
