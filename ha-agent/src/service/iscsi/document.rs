//! What is to be served: the document that `targetcli saveconfig` writes, as far as it is understood here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use crate::resource::{Cause, Failure};

/// Everything.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Document {
    #[serde(default)]
    pub(super) storage_objects: Vec<Backstore>,
    #[serde(default)]
    pub(super) targets: Vec<Target>,
}

/// What is stored where.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Backstore {
    pub(super) name: String,
    plugin: String,
    #[serde(default)]
    pub(super) dev: PathBuf,
    /// The serial number of the unit. Clients know the disk by it.
    pub(super) wwn: Option<String>,
    /// Of a file, in bytes.
    #[serde(default)]
    pub(super) size: u64,
    #[serde(default)]
    pub(super) readonly: bool,
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) alua_tpgs: Vec<PortGroup>,
}

/// A group of ports that have the same access state.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PortGroup {
    pub(super) name: String,
    pub(super) tg_pt_gp_id: u16,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Target {
    fabric: String,
    pub(super) wwn: String,
    #[serde(default)]
    pub(super) tpgs: Vec<Tpg>,
}

/// A target portal group.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Tpg {
    pub(super) tag: u16,
    #[serde(default = "yes")]
    pub(super) enable: bool,
    #[serde(default)]
    pub(super) luns: Vec<Lun>,
    #[serde(default)]
    pub(super) portals: Vec<Portal>,
    #[serde(default)]
    pub(super) node_acls: Vec<Acl>,
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) parameters: BTreeMap<String, Value>,
    #[serde(flatten)]
    pub(super) chap: Chap,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Lun {
    pub(super) index: u32,
    /// `/backstores/block/name`.
    storage_object: String,
    pub(super) alua_tg_pt_gp_name: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Portal {
    ip_address: String,
    port: u16,
}

/// A client that may come in.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Acl {
    pub(super) node_wwn: String,
    #[serde(default)]
    pub(super) mapped_luns: Vec<MappedLun>,
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, Value>,
    #[serde(flatten)]
    pub(super) chap: Chap,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct MappedLun {
    pub(super) index: u32,
    pub(super) tpg_lun: u32,
    #[serde(default)]
    pub(super) write_protect: bool,
}

/// How clients prove who they are.
#[derive(Clone, Default, Deserialize)]
pub(super) struct Chap {
    #[serde(rename = "chap_userid")]
    user: Option<String>,
    #[serde(rename = "chap_password")]
    password: Option<String>,
    #[serde(rename = "chap_mutual_userid")]
    mutual_user: Option<String>,
    #[serde(rename = "chap_mutual_password")]
    mutual_password: Option<String>,
}

/// What a backstore is made of, in the kernel's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Block,
    File,
}

impl Document {
    /// Reads it, and looks whether all of it can be served here.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let remedy = "write it with `targetcli saveconfig`";
        let wrong = |what: String| Failure::new(Cause::Misconfigured, what, remedy);
        let document: Self = serde_json::from_str(text)
            .map_err(|error| wrong(format!("the iSCSI configuration can't be read: {error}")))?;
        for store in &document.storage_objects {
            let Some(kind) = store.kind() else {
                return Err(wrong(format!(
                    "backstore {} is {}: only block and fileio move",
                    store.name, store.plugin
                )));
            };
            if !is_name(&store.name) || !store.dev.is_absolute() || (kind == Kind::File && store.size == 0) {
                return Err(wrong(format!("backstore {:?} has no proper name, path or size", store.name)));
            }
        }
        for target in &document.targets {
            if target.fabric != "iscsi" || !is_name(&target.wwn) {
                return Err(wrong(format!("target {} is not of iSCSI", target.wwn)));
            }
            for tpg in &target.tpgs {
                let unknown = tpg.luns.iter().find(|lun| document.store_of(lun).is_none());
                if let Some(lun) = unknown {
                    return Err(wrong(format!("LUN {} of {} has no backstore", lun.index, target.wwn)));
                }
                if let Some(acl) = tpg.node_acls.iter().find(|acl| !is_name(&acl.node_wwn)) {
                    return Err(wrong(format!(
                        "client {:?} of {} has no proper name",
                        acl.node_wwn, target.wwn
                    )));
                }
            }
        }
        Ok(document)
    }

    /// The backstore of a LUN.
    pub(super) fn store_of(&self, lun: &Lun) -> Option<&Backstore> {
        let (plugin, name) = lun.storage_object.strip_prefix("/backstores/")?.split_once('/')?;
        self.storage_objects.iter().find(|store| store.plugin == plugin && store.name == name)
    }
}

impl Backstore {
    pub(super) fn kind(&self) -> Option<Kind> {
        match self.plugin.as_str() {
            "block" => Some(Kind::Block),
            "fileio" => Some(Kind::File),
            _ => None,
        }
    }
}

impl Kind {
    /// What its directories begin with.
    pub(super) fn directory(self) -> &'static str {
        match self {
            Self::Block => "iblock",
            Self::File => "fileio",
        }
    }
}

impl Portal {
    /// As its directory is called.
    pub(super) fn name(&self) -> String {
        let address = self.ip_address.trim_matches(['[', ']']);
        if address.contains(':') {
            format!("[{address}]:{}", self.port)
        } else {
            format!("{address}:{}", self.port)
        }
    }
}

impl Chap {
    /// The attributes, and what they are set to.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("userid", &self.user),
            ("password", &self.password),
            ("userid_mutual", &self.mutual_user),
            ("password_mutual", &self.mutual_password),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

/// Without the passwords.
impl fmt::Debug for Chap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chap").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A value as the kernel takes it.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Bool(value) => u8::from(*value).to_string(),
        Value::String(value) => value.clone(),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// It can be the name of one directory.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0', ',', '\n'])
}

fn yes() -> bool {
    true
}
