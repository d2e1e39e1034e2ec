//! A target whose configfs is a model with the kernel's rules.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::configfs::Configfs;
use super::document::Document;
use super::{Iscsi, IscsiSettings};
use crate::resource::{Cause, Finding, Resource};
use crate::storage::Host;
use crate::storage::double::{Double, within};

/// What the model does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Before,
    After,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// Groups and objects, and whether somebody made them.
    groups: BTreeMap<String, bool>,
    attributes: BTreeMap<String, String>,
    links: BTreeMap<String, String>,
    steps: usize,
    fault: Option<(usize, Fault)>,
    /// What was written to attributes that can't be read.
    orders: Vec<String>,
}

#[derive(Debug, Default)]
struct Model(Mutex<State>);

impl Model {
    fn new() -> Self {
        let model = Self::default();
        let mut state = model.state();
        state.groups.insert("core".to_owned(), false);
        state.attributes.insert("dbroot".to_owned(), "/var/target".to_owned());
        drop(state);
        model
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, act: impl FnOnce(&mut State) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state();
        let step = state.steps;
        state.steps += 1;
        match state.fault.filter(|(at, _)| *at == step) {
            None => act(&mut state),
            Some((_, Fault::Before)) => Err(ErrorKind::Other.into()),
            Some((_, Fault::After)) => act(&mut state).and(Err(ErrorKind::Other.into())),
        }
    }
}

impl State {
    fn group(&mut self, path: &str, groups: &[&str], attributes: &[(&str, &str)]) {
        self.groups.extend(groups.iter().map(|name| (format!("{path}/{name}"), false)));
        self.attributes
            .extend(attributes.iter().map(|(name, is)| (format!("{path}/{name}"), (*is).to_owned())));
    }

    /// What comes with an object of this path.
    fn furnish(&mut self, path: &str) {
        let parts: Vec<_> = path.split('/').collect();
        match parts.as_slice() {
            ["core", hba, _] => {
                assert!(hba.starts_with("iblock_") || hba.starts_with("fileio_"), "{hba}");
                let own = [
                    ("enable", "0"),
                    ("control", ""),
                    ("wwn/vpd_unit_serial", "T10 VPD Unit Serial Number: "),
                ];
                self.group(path, &["alua", "alua/default_tg_pt_gp", "attrib", "pr", "wwn"], &own);
                let own = [
                    ("attrib/force_pr_aptpl", "0"),
                    ("attrib/block_size", "512"),
                    ("pr/res_aptpl_metadata", ""),
                ];
                self.group(path, &[], &own);
                self.group(path, &[], &[("alua/default_tg_pt_gp/alua_access_state", "0")]);
            }
            ["core", _, _, "alua", _] => {
                self.group(path, &[], &[("alua_access_state", "0"), ("tg_pt_gp_id", "0")]);
            }
            ["iscsi", _, tag] => {
                assert!(tag.starts_with("tpgt_"), "{tag}");
                let own = [
                    ("enable", "0"),
                    ("attrib/authentication", "0"),
                    ("auth/userid", ""),
                    ("auth/password", ""),
                ];
                self.group(path, &["acls", "lun", "np", "attrib", "auth", "param"], &own);
            }
            ["iscsi", _, _, "lun", _] => self.group(path, &[], &[("alua_tg_pt_gp", "")]),
            ["iscsi", _, _, "acls", _] => {
                self.group(path, &["attrib", "auth"], &[("auth/userid", ""), ("auth/password", "")]);
            }
            ["iscsi", _, _, "acls", _, _] => self.group(path, &[], &[("write_protect", "0")]),
            _ => {}
        }
    }

    fn exported(&self, store: &str) -> bool {
        self.links.values().any(|to| to == store)
    }
}

impl Configfs for Model {
    fn make(&self, path: &str) -> io::Result<()> {
        self.step(|state| {
            let parent = path.rsplit_once('/').map(|(parent, _)| parent);
            if parent.is_some_and(|parent| !state.groups.contains_key(parent)) {
                return Err(ErrorKind::NotFound.into());
            }
            if path.contains("/np/192.") {
                return Err(ErrorKind::AddrNotAvailable.into());
            }
            if state.groups.insert(path.to_owned(), true).is_some() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            state.furnish(path);
            Ok(())
        })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.step(|state| {
            let below = format!("{path}/");
            let used = state.groups.iter().any(|(name, made)| *made && name.starts_with(&below))
                || state.links.keys().any(|name| name.starts_with(&below));
            if used || state.exported(path) {
                return Err(ErrorKind::ResourceBusy.into());
            }
            if state.groups.get(path) != Some(&true) {
                return Err(ErrorKind::PermissionDenied.into());
            }
            state.groups.retain(|name, _| name != path && !name.starts_with(&below));
            state.attributes.retain(|name, _| !name.starts_with(&below));
            Ok(())
        })
    }

    fn link(&self, path: &str, to: &str) -> io::Result<()> {
        self.step(|state| {
            let ready = state.attributes.get(&format!("{to}/enable")).is_none_or(|enabled| enabled == "1");
            if !state.groups.contains_key(to) || !ready {
                return Err(ErrorKind::NotFound.into());
            }
            state.links.insert(path.to_owned(), to.to_owned());
            Ok(())
        })
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        self.step(|state| state.links.remove(path).map(|_| ()).ok_or(ErrorKind::NotFound.into()))
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        self.step(|state| {
            let store = path.split('/').take(3).collect::<Vec<_>>().join("/");
            let enabled = state.attributes.get(&format!("{store}/enable")).is_some_and(|it| it == "1");
            if path.ends_with("alua_access_state") && !enabled {
                return Err(io::Error::from_raw_os_error(libc::ENODEV));
            }
            if path.ends_with("res_aptpl_metadata") && (state.exported(&store) || !enabled) {
                return Err(ErrorKind::InvalidInput.into());
            }
            if path.ends_with("control") && enabled {
                return Err(ErrorKind::AlreadyExists.into());
            }
            if path.ends_with("control") || path.ends_with("res_aptpl_metadata") {
                state.orders.push(format!("{path}: {value}"));
            }
            let value = match path.rsplit('/').next() {
                Some("vpd_unit_serial") => format!("T10 VPD Unit Serial Number: {value}"),
                Some(_) | None => value.to_owned(),
            };
            let attribute = state.attributes.get_mut(path).ok_or(ErrorKind::NotFound)?;
            *attribute = value;
            Ok(())
        })
    }

    fn read(&self, path: &str) -> io::Result<String> {
        Ok(self.state().attributes.get(path).cloned().ok_or(ErrorKind::NotFound)?)
    }

    fn exists(&self, path: &str) -> bool {
        self.state().groups.contains_key(path)
    }

    fn groups(&self, path: &str) -> Vec<String> {
        let state = self.state();
        let below = state.groups.keys().filter_map(|name| name.strip_prefix(path)?.strip_prefix('/'));
        below.filter(|name| !name.contains('/')).map(str::to_owned).collect()
    }

    fn links(&self, path: &str) -> Vec<String> {
        let state = self.state();
        let below = state.links.keys().filter_map(|name| name.strip_prefix(path)?.strip_prefix('/'));
        below.map(str::to_owned).collect()
    }
}

const DOCUMENT: &str = r#"{
  "fabric_modules": [],
  "storage_objects": [
    {"name": "vol", "plugin": "block", "dev": "/dev/zvol/tank/vol", "readonly": false, "write_back": false,
     "wwn": "6001405-abc", "attributes": {"block_size": 512, "emulate_write_cache": 1, "new_in_9_9": 1},
     "alua_tpgs": [{"name": "default_tg_pt_gp", "tg_pt_gp_id": 0, "alua_access_state": 0},
                   {"name": "other", "tg_pt_gp_id": 5, "alua_access_state": 2}]},
    {"name": "file", "plugin": "fileio", "dev": "/srv/file", "size": 1048576, "write_back": true, "wwn": "def"}
  ],
  "targets": [{"fabric": "iscsi", "wwn": "iqn.2026-11.org.example:one", "tpgs": [{"tag": 1, "enable": true,
    "attributes": {"authentication": 1}, "parameters": {}, "chap_userid": "user", "chap_password": "secret word",
    "luns": [{"index": 0, "storage_object": "/backstores/block/vol", "alias": "x", "alua_tg_pt_gp_name": "other"},
             {"index": 1, "storage_object": "/backstores/fileio/file", "alua_tg_pt_gp_name": "default_tg_pt_gp"}],
    "portals": [{"ip_address": "0.0.0.0", "port": 3260, "iser": false, "offload": false},
                {"ip_address": "[::0]", "port": 3260}],
    "node_acls": [{"node_wwn": "iqn.2026-11.org.example:client", "chap_password": "secret word",
      "mapped_luns": [{"index": 7, "tpg_lun": 1, "write_protect": true, "alias": "y"}]}]
  }]}]
}"#;

const SAVED: &str = "PR_REG_START: 0\ninitiator_fabric=iSCSI\ninitiator_node=iqn.c\nsa_res_key=17\nPR_REG_END: 0\n\
                     PR_REG_START: 1\ninitiator_fabric=iSCSI\ninitiator_node=iqn.d\nsa_res_key=18\nPR_REG_END: 1\n";

struct Lab {
    root: TempDir,
    model: Arc<Model>,
    target: Iscsi,
}

impl Lab {
    fn new(document: &str) -> Result<Self> {
        let root = TempDir::new()?;
        for directory in ["proc/self", "etc", "srv/pr", "dev/zvol/tank"] {
            fs::create_dir_all(root.path().join(directory))?;
        }
        for device in ["dev/zvol/tank/vol", "srv/file"] {
            fs::write(root.path().join(device), "")?;
        }
        fs::write(root.path().join("proc/self/mountinfo"), "")?;
        fs::write(root.path().join("etc/saveconfig.json"), document)?;
        fs::write(root.path().join("srv/pr/aptpl_6001405-abc"), SAVED)?;
        let mounts = root.path().join("proc/self/mountinfo");
        let programs = Double::new(move |line| {
            let words: Vec<_> = line.iter().map(String::as_str).collect();
            match words.as_slice() {
                ["mount", "--bind", _, at] => {
                    let _ = fs::write(&mounts, format!("9 1 0:9 / {at} rw - zfs tank rw\n"));
                }
                ["umount", _] => {
                    let _ = fs::write(&mounts, "");
                }
                ["zfs", "get", ..] => return (0, "standard\n".to_owned(), String::new()),
                other => return (1, String::new(), format!("what is {other:?}?")),
            }
            (0, String::new(), String::new())
        });
        let settings =
            IscsiSettings { document: "/etc/saveconfig.json".into(), reservations: Some("/srv/pr".into()) };
        let model = Arc::new(Model::new());
        let target = Iscsi::with(settings, Host::new(Arc::new(programs), root.path()), model.clone());
        Ok(Self { root, model, target })
    }

    fn begin(&self, fault: Option<(usize, Fault)>) {
        let mut state = self.model.state();
        state.steps = 0;
        state.fault = fault;
        state.orders.clear();
    }

    fn is_empty(&self) -> Result<bool> {
        let state = self.model.state();
        let made = state.groups.iter().filter(|(_, made)| **made).map(|(name, _)| name.as_str());
        Ok(made.eq(Some("iscsi").filter(|_| state.groups.contains_key("iscsi")))
            && state.links.is_empty()
            && fs::read_to_string(self.root.path().join("proc/self/mountinfo"))?.is_empty())
    }
}

#[test]
fn a_device_that_comes_late_is_waited_for() -> Result<()> {
    let lab = Lab::new(DOCUMENT)?;
    let device = lab.root.path().join("dev/zvol/tank/vol");
    fs::remove_file(&device)?;
    let refused = lab.target.take(&within(200)?);
    ensure!(refused.as_ref().is_err_and(|it| it.cause == Cause::DiskMissing), "{refused:?}");
    lab.target.release(&within(1000)?)?;
    ensure!(lab.is_empty()?);
    let late = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        fs::write(device, "")
    });
    lab.target.take(&within(5000)?)?;
    late.join().map_err(|_| anyhow::anyhow!("it panicked"))??;
    Ok(())
}

#[test]
fn it_is_built_as_the_document_says_and_leaves_nothing() -> Result<()> {
    let lab = Lab::new(DOCUMENT)?;
    ensure!(!lab.target.is_here(&within(1000)?)?);
    let findings = lab.target.examine(&within(1000)?);
    ensure!(
        findings.iter().any(|it| matches!(it, Finding::Good(what) if what.contains("2 backstores"))),
        "{findings:?}"
    );
    let taken = lab.target.take(&within(5000)?)?;
    ensure!(taken.remarks.len() == 2, "{taken:?}");
    ensure!(taken.remarks.iter().any(|it| it.contains("sync=always tank/vol")), "{taken:?}");
    ensure!(taken.remarks.iter().any(|it| it.contains("new_in_9_9")), "{taken:?}");
    let state = lab.model.state().clone();
    let is = |path: &str| state.attributes.get(path).map(String::as_str);
    let tpg = "iscsi/iqn.2026-11.org.example:one/tpgt_1";
    ensure!(
        is(&format!("{tpg}/enable")) == Some("1")
            && is(&format!("{tpg}/auth/password")) == Some("secret word")
    );
    ensure!(is(&format!("{tpg}/attrib/authentication")) == Some("1"));
    ensure!(is(&format!("{tpg}/lun/lun_0/alua_tg_pt_gp")) == Some("other"));
    ensure!(is("core/iblock_0/vol/alua/other/alua_access_state") == Some("0"));
    ensure!(is("core/iblock_0/vol/alua/other/tg_pt_gp_id") == Some("5"));
    ensure!(is("core/iblock_0/vol/wwn/vpd_unit_serial") == Some("T10 VPD Unit Serial Number: 6001405-abc"));
    let acl = format!("{tpg}/acls/iqn.2026-11.org.example:client");
    ensure!(is(&format!("{acl}/lun_7/write_protect")) == Some("1"));
    let links: Vec<_> = state.links.values().map(String::as_str).collect();
    ensure!(links == [&format!("{tpg}/lun/lun_1"), "core/iblock_0/vol", "core/fileio_0/file"], "{links:?}");
    ensure!(state.groups.contains_key(&format!("{tpg}/np/[::0]:3260")));
    let orders = [
        "core/iblock_0/vol/control: udev_path=/dev/zvol/tank/vol",
        "core/iblock_0/vol/control: readonly=0",
        "core/iblock_0/vol/pr/res_aptpl_metadata: initiator_fabric=iSCSI,initiator_node=iqn.c,sa_res_key=17",
        "core/iblock_0/vol/pr/res_aptpl_metadata: initiator_fabric=iSCSI,initiator_node=iqn.d,sa_res_key=18",
        "core/fileio_0/file/control: fd_dev_name=/srv/file,fd_dev_size=1048576",
    ];
    ensure!(state.orders == orders, "{:#?}", state.orders);
    lab.target.check(&within(1000)?)?;
    lab.target.release(&within(5000)?)?;
    ensure!(lab.is_empty()? && !lab.target.is_here(&within(1000)?)?, "{:#?}", lab.model.state());
    lab.target.release(&within(5000)?)?;
    ensure!(lab.target.check(&within(1000)?).is_err_and(|failure| failure.cause == Cause::Gone));
    Ok(())
}

#[test]
fn twice_is_once() -> Result<()> {
    let without = DOCUMENT.replace(r#", "new_in_9_9": 1"#, "");
    let lab = Lab::new(&without)?;
    lab.target.take(&within(5000)?)?;
    let once = lab.model.state().clone();
    lab.target.take(&within(5000)?)?;
    let twice = State { steps: once.steps, orders: once.orders.clone(), ..lab.model.state().clone() };
    ensure!(twice == once);
    Ok(())
}

#[test]
fn whatever_goes_wrong_is_named_and_nothing_is_left() -> Result<()> {
    let lab = Lab::new(DOCUMENT)?;
    lab.begin(None);
    lab.target.take(&within(5000)?)?;
    let taking = lab.model.state().steps;
    lab.begin(None);
    lab.target.release(&within(5000)?)?;
    let releasing = lab.model.state().steps;
    ensure!(taking > 30 && releasing > 15, "{taking} {releasing}");
    for (at, fault) in (0..taking).flat_map(|at| [Fault::Before, Fault::After].map(|fault| (at, fault))) {
        lab.begin(Some((at, fault)));
        if let Err(failure) = lab.target.take(&within(5000)?) {
            ensure!(!failure.what.contains("secret"), "{failure}");
        } else {
            lab.target.check(&within(1000)?)?;
        }
        lab.begin(None);
        lab.target.release(&within(5000)?)?;
        ensure!(lab.is_empty()?, "{at} {fault:?} {:#?}", lab.model.state());
    }
    for (at, fault) in (0..releasing).flat_map(|at| [Fault::Before, Fault::After].map(|fault| (at, fault))) {
        lab.begin(None);
        lab.target.take(&within(5000)?)?;
        lab.begin(Some((at, fault)));
        if lab.target.release(&within(5000)?).is_ok() {
            let state = lab.model.state().clone();
            ensure!(
                state.links.is_empty() && !state.groups.keys().any(|it| it.contains("vol")),
                "{at} {fault:?}"
            );
        }
        lab.begin(None);
        lab.target.release(&within(5000)?)?;
    }
    Ok(())
}

#[test]
fn clients_are_told_to_wait_while_it_moves() -> Result<()> {
    let lab = Lab::new(DOCUMENT)?;
    lab.target.take(&within(5000)?)?;
    // Both backstores have three groups of ports together; the fault strikes right after.
    lab.begin(Some((3, Fault::Before)));
    ensure!(lab.target.release(&within(5000)?).is_err());
    let state = lab.model.state().clone();
    let states: Vec<_> =
        state.attributes.iter().filter(|(name, _)| name.ends_with("alua_access_state")).collect();
    ensure!(states.len() == 3 && states.iter().all(|(_, is)| *is == "15"), "{states:?}");
    Ok(())
}

#[test]
fn a_portal_of_an_address_that_is_not_here_is_explained() -> Result<()> {
    let lab = Lab::new(&DOCUMENT.replace("0.0.0.0", "192.0.2.1"))?;
    let failure = lab.target.take(&within(5000)?).expect_err("no address");
    ensure!(
        failure.cause == Cause::Misconfigured && failure.remedy.contains("ip_nonlocal_bind"),
        "{failure}"
    );
    lab.target.release(&within(5000)?)?;
    ensure!(lab.is_empty()?);
    Ok(())
}

#[test]
fn a_document_that_can_t_be_served_is_refused() -> Result<()> {
    let whole = Document::parse(DOCUMENT)?;
    let shown = format!("{whole:?}");
    ensure!(!shown.contains("secret word"), "{shown}");
    for (from, to) in [
        (r#""plugin": "block""#, r#""plugin": "pscsi""#),
        (r#""fabric": "iscsi""#, r#""fabric": "srpt""#),
        ("/backstores/block/vol", "/backstores/block/none"),
        (r#""dev": "/srv/file""#, r#""dev": "file""#),
        (r#""size": 1048576"#, r#""size": 0"#),
        (r#""name": "vol""#, r#""name": "../vol""#),
        ("iqn.2026-11.org.example:client", "a/b"),
        ("\"targets\"", "targets"),
    ] {
        let failure = Document::parse(&DOCUMENT.replace(from, to)).err().context(from)?;
        ensure!(failure.cause == Cause::Misconfigured, "{failure}");
    }
    Ok(())
}
