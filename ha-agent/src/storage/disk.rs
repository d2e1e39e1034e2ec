//! Which disks these are, so that both nodes can compare what they see.

use std::path::{Path, PathBuf};

use super::host::Host;

/// A disk, or a partition of one, that belongs to a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiskId {
    /// What its label says: the GUID of the device in its pool. None where the resource has no such thing.
    pub guid: Option<u64>,
    /// Its path here, without links: `/dev/sda1`.
    pub device: PathBuf,
    /// The whole disk: `/dev/sda`. This is what is reserved.
    pub disk: PathBuf,
    /// What the disk says of itself, the same on both nodes: its world-wide name, else its serial number.
    pub serial: Option<String>,
}

/// What is known about the disk at this path (links are followed); `None` if there is none.
#[must_use]
pub fn identify(host: &Host, path: &Path, guid: Option<u64>) -> Option<DiskId> {
    let device = host.canonical(path).ok()?;
    let name = device.file_name()?.to_str()?;
    let class = host.canonical(format!("/sys/class/block/{name}"));
    // The directory of a partition is inside that of its disk.
    let whole = class.ok().filter(|class| host.path(class).join("partition").exists());
    let whole = whole.as_deref().and_then(Path::parent).and_then(Path::file_name);
    let disk = whole.map_or_else(|| device.clone(), |name| Path::new("/dev").join(name));
    let serial = disk.file_name().and_then(|name| name.to_str()).and_then(|name| serial(host, name));
    Some(DiskId { guid, device, disk, serial })
}

/// A SCSI disk has it below `device`, other disks and multipath devices in files of their own.
fn serial(host: &Host, name: &str) -> Option<String> {
    ["wwid", "device/wwid", "dm/uuid", "device/serial", "serial"].into_iter().find_map(|file| {
        let text = host.read(format!("/sys/class/block/{name}/{file}")).ok()?;
        // Multipath says the world-wide name as its paths do, with what it is in front.
        let text =
            text.strip_prefix("mpath-").unwrap_or(&text).split_whitespace().collect::<Vec<_>>().join(" ");
        (!text.is_empty()).then_some(text)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::Arc;

    use super::*;
    use crate::resource::System;

    #[test]
    fn a_partition_leads_to_its_disk_and_its_serial_number() -> anyhow::Result<()> {
        let root = tempfile::tempdir()?;
        let host = Host::new(Arc::new(System), root.path());
        let disk = root.path().join("sys/devices/block/sda");
        fs::create_dir_all(disk.join("sda1"))?;
        fs::create_dir_all(disk.join("device"))?;
        fs::write(disk.join("sda1/partition"), "1\n")?;
        fs::write(disk.join("device/wwid"), "t10.LIO     disk    0\n")?;
        fs::create_dir_all(root.path().join("sys/class/block"))?;
        symlink("../../devices/block/sda", root.path().join("sys/class/block/sda"))?;
        symlink("../../devices/block/sda/sda1", root.path().join("sys/class/block/sda1"))?;
        fs::create_dir_all(root.path().join("dev/disk/by-id"))?;
        fs::write(root.path().join("dev/sda1"), "")?;
        symlink("../../sda1", root.path().join("dev/disk/by-id/it"))?;
        let found = identify(&host, Path::new("/dev/disk/by-id/it"), Some(7)).expect("a disk");
        let expected = DiskId {
            guid: Some(7),
            device: "/dev/sda1".into(),
            disk: "/dev/sda".into(),
            serial: Some("t10.LIO disk 0".to_owned()),
        };
        assert_eq!(found, expected);
        assert_eq!(identify(&host, Path::new("/dev/none"), None), None);
        Ok(())
    }
}
