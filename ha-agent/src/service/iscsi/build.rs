//! Making and removing what a document says, step by step. Each step that has been done is left alone.

use serde_json::Value;

use super::configfs::{Configfs, failed};
use super::document::{Acl, Backstore, Document, Kind, Lun, Target, Tpg, plain};
use crate::resource::{Cause, Failure, Within};

/// What an access state is called: SPC-4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    ActiveOptimized = 0,
    /// Clients wait, and try again.
    Transitioning = 15,
}

/// Makes all of it, and returns what an operator should know. Clients can come in at the end only.
pub(super) fn build(
    tree: &dyn Configfs,
    document: &Document,
    reservations: impl Fn(&str) -> Option<String>,
    within: &Within,
) -> Result<Vec<String>, Failure> {
    let mut remarks = Vec::new();
    for store in &document.storage_objects {
        within.go_on(&format!("backstore {}", store.name))?;
        backstore(tree, document, store, &reservations, &mut remarks)?;
    }
    make_wait(tree, document);
    if !document.targets.is_empty() {
        tree.ensure("iscsi")?;
    }
    for target in &document.targets {
        tree.ensure(&format!("iscsi/{}", target.wwn))?;
        for tpg in &target.tpgs {
            within.go_on(&format!("target {}", target.wwn))?;
            portal_group(tree, document, target, tpg, &mut remarks)?;
        }
    }
    set_access(tree, document, Access::ActiveOptimized)?;
    Ok(remarks)
}

/// Removes all of it. What others have made is left alone, unless it is inside of ours.
pub(super) fn dismantle(tree: &dyn Configfs, document: &Document, within: &Within) -> Result<(), Failure> {
    make_wait(tree, document);
    for target in &document.targets {
        let target = format!("iscsi/{}", target.wwn);
        for tpg in tree.groups(&target).iter().filter(|name| name.starts_with("tpgt_")) {
            within.go_on(&target)?;
            dissolve_portal_group(tree, &format!("{target}/{tpg}"))?;
        }
        tree.dissolve(&target)?;
    }
    for store in &document.storage_objects {
        within.go_on(&format!("backstore {}", store.name))?;
        let Some((_, path)) = find(tree, store) else { continue };
        for group in tree.groups(&format!("{path}/alua")).iter().filter(|name| *name != DEFAULT_GROUP) {
            tree.dissolve(&format!("{path}/alua/{group}"))?;
        }
        tree.dissolve(&path)?;
    }
    // Host adapters that have nothing any more: also one whose backstore could not be made.
    for hba in tree.groups("core").iter().filter(|hba| KINDS.iter().any(|kind| is_hba(hba, *kind))) {
        let hba = format!("core/{hba}");
        if tree.groups(&hba).is_empty() {
            tree.dissolve(&hba)?;
        }
    }
    Ok(())
}

/// Whether any of it is there.
pub(super) fn is_there(tree: &dyn Configfs, document: &Document) -> bool {
    document.targets.iter().any(|target| tree.exists(&format!("iscsi/{}", target.wwn)))
        || document.storage_objects.iter().any(|store| find(tree, store).is_some())
}

/// Whether all of it is there, and works.
pub(super) fn check(tree: &dyn Configfs, document: &Document) -> Result<(), Failure> {
    let off = |what: String| Failure::new(Cause::Gone, what, "find out who has changed it");
    for store in &document.storage_objects {
        let enabled = find(tree, store).and_then(|(_, path)| tree.read(&format!("{path}/enable")).ok());
        if enabled.as_deref() != Some("1") {
            return Err(off(format!("backstore {} is not in use any more", store.name)));
        }
    }
    for target in &document.targets {
        for tpg in target.tpgs.iter().filter(|tpg| tpg.enable) {
            if tree.read(&format!("{}/enable", path(target, tpg))).ok().as_deref() != Some("1") {
                return Err(off(format!("target {} does not serve any more", target.wwn)));
            }
        }
    }
    Ok(())
}

fn backstore(
    tree: &dyn Configfs,
    document: &Document,
    store: &Backstore,
    reservations: &impl Fn(&str) -> Option<String>,
    remarks: &mut Vec<String>,
) -> Result<(), Failure> {
    let Some(kind) = store.kind() else { return Ok(()) };
    let (hba, path) = find(tree, store).unwrap_or_else(|| place(tree, kind, &store.name));
    tree.ensure(&hba)?;
    tree.ensure(&path)?;
    let device = store.dev.display();
    if tree.read(&format!("{path}/enable")).ok().as_deref() != Some("1") {
        let orders = match kind {
            Kind::Block => {
                vec![format!("udev_path={device}"), format!("readonly={}", u8::from(store.readonly))]
            }
            // Without a write cache: it would be lost with this node, and clients would not know.
            Kind::File => vec![format!("fd_dev_name={device},fd_dev_size={}", store.size)],
        };
        for order in orders {
            let control = format!("{path}/control");
            tree.write(&control, &order).map_err(|error| failed("be set", &control, &error))?;
        }
        let enable = format!("{path}/enable");
        tree.write(&enable, "1").map_err(|error| {
            Failure::system(&format!("backstore {} can't use {device}", store.name), &error)
        })?;
    }
    if let Some(serial) = &store.wwn {
        let file = format!("{path}/wwn/vpd_unit_serial");
        // It reads as a sentence.
        if !tree.read(&file).is_ok_and(|says| says.ends_with(serial.as_str())) {
            tree.write(&file, serial).map_err(|error| failed("be set", &file, &error))?;
        }
    }
    // What the cache attribute says, the kernel knows best.
    let attributes = store.attributes.iter().filter(|(name, _)| *name != "emulate_write_cache");
    set_all(tree, &format!("{path}/attrib"), attributes, remarks);
    for group in store.alua_tpgs.iter().filter(|group| group.name != DEFAULT_GROUP) {
        let group_path = format!("{path}/alua/{}", group.name);
        if !tree.exists(&group_path) {
            tree.ensure(&group_path)?;
            tree.set(&format!("{group_path}/tg_pt_gp_id"), &group.tg_pt_gp_id.to_string())?;
        }
    }
    if let Some(saved) =
        store.wwn.as_deref().and_then(reservations).filter(|_| !is_linked(tree, document, store))
    {
        restore_reservations(tree, &path, &saved)?;
    }
    Ok(())
}

/// Whether a client can see it already.
fn is_linked(tree: &dyn Configfs, document: &Document, store: &Backstore) -> bool {
    document.targets.iter().any(|target| {
        target.tpgs.iter().any(|tpg| {
            let is_of = |lun: &&Lun| document.store_of(lun).is_some_and(|it| it.name == store.name);
            let path = path(target, tpg);
            tpg.luns
                .iter()
                .filter(is_of)
                .any(|lun| !tree.links(&format!("{path}/lun/lun_{}", lun.index)).is_empty())
        })
    })
}

/// Gives the kernel back what it has written down itself of persistent reservations: one registration at a time, with commas
/// for line ends. It takes them only before the first LUN.
fn restore_reservations(tree: &dyn Configfs, store: &str, saved: &str) -> Result<(), Failure> {
    // From now on they are written down, whether the client asks for it or not.
    tree.set(&format!("{store}/attrib/force_pr_aptpl"), "1")?;
    let mut registration: Vec<&str> = Vec::new();
    for line in saved.lines().map(str::trim) {
        if line.starts_with("PR_REG_START:") {
            registration.clear();
        } else if line.starts_with("PR_REG_END:") {
            let file = format!("{store}/pr/res_aptpl_metadata");
            tree.write(&file, &registration.join(",")).map_err(|error| failed("be set", &file, &error))?;
        } else {
            registration.push(line);
        }
    }
    Ok(())
}

fn portal_group(
    tree: &dyn Configfs,
    document: &Document,
    target: &Target,
    tpg: &Tpg,
    remarks: &mut Vec<String>,
) -> Result<(), Failure> {
    let path = path(target, tpg);
    tree.ensure(&path)?;
    set_all(tree, &format!("{path}/attrib"), &tpg.attributes, remarks);
    set_all(tree, &format!("{path}/param"), &tpg.parameters, remarks);
    for (name, value) in tpg.chap.attributes() {
        tree.set(&format!("{path}/auth/{name}"), value)?;
    }
    for lun in &tpg.luns {
        let at = format!("{path}/lun/lun_{}", lun.index);
        tree.ensure(&at)?;
        let Some((_, store)) = document.store_of(lun).and_then(|store| find(tree, store)) else { continue };
        tree.ensure_link(&at, &store)?;
        if let Some(group) = lun.alua_tg_pt_gp_name.as_deref().filter(|group| *group != DEFAULT_GROUP) {
            let file = format!("{at}/alua_tg_pt_gp");
            tree.write(&file, group).map_err(|error| failed("be set", &file, &error))?;
        }
    }
    for acl in &tpg.node_acls {
        client(tree, &path, acl, remarks)?;
    }
    for portal in &tpg.portals {
        tree.ensure(&format!("{path}/np/{}", portal.name()))?;
    }
    tree.set(&format!("{path}/enable"), &u8::from(tpg.enable).to_string())
}

fn client(tree: &dyn Configfs, tpg: &str, acl: &Acl, remarks: &mut Vec<String>) -> Result<(), Failure> {
    let path = format!("{tpg}/acls/{}", acl.node_wwn);
    tree.ensure(&path)?;
    set_all(tree, &format!("{path}/attrib"), &acl.attributes, remarks);
    for (name, value) in acl.chap.attributes() {
        tree.set(&format!("{path}/auth/{name}"), value)?;
    }
    for lun in &acl.mapped_luns {
        let at = format!("{path}/lun_{}", lun.index);
        tree.ensure(&at)?;
        tree.ensure_link(&at, &format!("{tpg}/lun/lun_{}", lun.tpg_lun))?;
        tree.set(&format!("{at}/write_protect"), &u8::from(lun.write_protect).to_string())?;
    }
    Ok(())
}

fn dissolve_portal_group(tree: &dyn Configfs, path: &str) -> Result<(), Failure> {
    // This ends the sessions.
    tree.set(&format!("{path}/enable"), "0")?;
    for acl in tree.groups(&format!("{path}/acls")) {
        let acl = format!("{path}/acls/{acl}");
        for lun in tree.groups(&acl).iter().filter(|name| name.starts_with("lun_")) {
            tree.dissolve(&format!("{acl}/{lun}"))?;
        }
        tree.dissolve(&acl)?;
    }
    for group in ["lun", "np"] {
        for object in tree.groups(&format!("{path}/{group}")) {
            tree.dissolve(&format!("{path}/{group}/{object}"))?;
        }
    }
    tree.dissolve(path)
}

/// Clients that see it while it moves wait, rather than give up. A kernel that does not know how is no reason to stop.
fn make_wait(tree: &dyn Configfs, document: &Document) {
    if let Err(failure) = set_access(tree, document, Access::Transitioning) {
        tracing::debug!(%failure, "Clients are not told that the target moves.");
    }
}

/// Sets the access state of all groups of ports. A backstore that is not in use has none.
fn set_access(tree: &dyn Configfs, document: &Document, access: Access) -> Result<(), Failure> {
    for store in &document.storage_objects {
        let Some((_, path)) = find(tree, store) else { continue };
        for group in tree.groups(&format!("{path}/alua")) {
            tree.set(&format!("{path}/alua/{group}/alua_access_state"), &(access as u8).to_string())?;
        }
    }
    Ok(())
}

/// Sets what can be set. An attribute that this kernel does not have, or does not let be changed, is only worth a remark.
fn set_all<'v>(
    tree: &dyn Configfs,
    group: &str,
    values: impl IntoIterator<Item = (&'v String, &'v Value)>,
    remarks: &mut Vec<String>,
) {
    for (name, value) in values {
        if let Err(failure) = tree.set(&format!("{group}/{name}"), &plain(value)) {
            remarks.push(failure.what);
        }
    }
}

/// The host adapter and the path of a backstore that is there.
fn find(tree: &dyn Configfs, store: &Backstore) -> Option<(String, String)> {
    let kind = store.kind()?;
    tree.groups("core").into_iter().filter(|hba| is_hba(hba, kind)).find_map(|hba| {
        let path = format!("core/{hba}/{}", store.name);
        tree.exists(&path).then(|| (format!("core/{hba}"), path))
    })
}

/// A host adapter of its own for a new backstore.
fn place(tree: &dyn Configfs, kind: Kind, name: &str) -> (String, String) {
    let taken = tree.groups("core");
    // One of so many numbers is free.
    let mut hbas = (0..=taken.len()).map(|number| format!("{}_{number}", kind.directory()));
    let hba = format!("core/{}", hbas.find(|hba| !taken.contains(hba)).unwrap_or_default());
    let path = format!("{hba}/{name}");
    (hba, path)
}

fn is_hba(name: &str, kind: Kind) -> bool {
    name.strip_prefix(kind.directory()).is_some_and(|number| number.starts_with('_'))
}

fn path(target: &Target, tpg: &Tpg) -> String {
    format!("iscsi/{}/tpgt_{}", target.wwn, tpg.tag)
}

const KINDS: [Kind; 2] = [Kind::Block, Kind::File];
/// The group that each backstore has anyway.
const DEFAULT_GROUP: &str = "default_tg_pt_gp";
