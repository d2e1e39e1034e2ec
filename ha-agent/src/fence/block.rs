//! From the path of a disk to what speaks for its reservations.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::device::{Abilities, Device, DeviceError, Old, Registrations};
use super::key::Key;
use super::multipath::MultipathDisk;
use super::nvme::NvmeDisk;
use super::scsi::{ScsiDisk, SgIo};
use crate::resource::Within;

/// The disk at a path such as `/dev/disk/by-id/wwn-0x5000c500a1b2c3d4`, or the one that the partition there is on.
///
/// It is looked for when it is needed, and again when it is gone: one that is pulled and put back may be another device.
#[derive(Debug)]
pub struct PathDisk {
    name: String,
    path: PathBuf,
    found: Mutex<Option<Arc<dyn Device>>>,
}

impl PathDisk {
    /// Asks for nothing yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { name: path.display().to_string(), path, found: Mutex::new(None) }
    }

    fn with<T>(&self, call: impl FnOnce(&dyn Device) -> Result<T, DeviceError>) -> Result<T, DeviceError> {
        // Not held during the call, which may hang.
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let device = if let Some(device) = found {
            device
        } else {
            let device = Arc::from(open(&self.name, &self.path)?);
            self.set(Some(Arc::clone(&device)));
            device
        };
        let result = call(device.as_ref());
        if matches!(result, Err(DeviceError::Gone)) {
            self.set(None);
        }
        result
    }

    fn set(&self, device: Option<Arc<dyn Device>>) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = device;
    }
}

impl Device for PathDisk {
    fn name(&self) -> &str {
        &self.name
    }

    fn serial(&self, within: &Within) -> Result<String, DeviceError> {
        self.with(|device| device.serial(within))
    }

    fn abilities(&self, within: &Within) -> Result<Abilities, DeviceError> {
        self.with(|device| device.abilities(within))
    }

    fn read(&self, within: &Within) -> Result<Registrations, DeviceError> {
        self.with(|device| device.read(within))
    }

    fn register(&self, old: Old, new: Option<Key>, within: &Within) -> Result<(), DeviceError> {
        self.with(|device| device.register(old, new, within))
    }

    fn reserve(&self, own: Key, within: &Within) -> Result<(), DeviceError> {
        self.with(|device| device.reserve(own, within))
    }

    fn preempt(&self, own: Key, victim: Key, abort: bool, within: &Within) -> Result<(), DeviceError> {
        self.with(|device| device.preempt(own, victim, abort, within))
    }

    fn release(&self, own: Key, within: &Within) -> Result<(), DeviceError> {
        self.with(|device| device.release(own, within))
    }

    fn clear(&self, own: Key, within: &Within) -> Result<(), DeviceError> {
        self.with(|device| device.clear(own, within))
    }
}

fn open(name: &str, path: &Path) -> Result<Box<dyn Device>, DeviceError> {
    let metadata = fs::metadata(path)?;
    if !metadata.file_type().is_block_device() {
        return Err(DeviceError::Unsupported("it is no block device".to_owned()));
    }
    let (major, minor) = (libc::major(metadata.rdev()), libc::minor(metadata.rdev()));
    let link = format!("/sys/dev/block/{major}:{minor}");
    find(&fs::canonicalize(link)?)?.open(name)
}

/// What speaks for a block device.
#[derive(Debug, PartialEq, Eq)]
enum Node {
    /// SCSI, by a generic node.
    Generic(PathBuf),
    /// SCSI, by the block device: there is no generic node (the module `sg` is not loaded).
    Scsi(PathBuf),
    Nvme {
        nodes: [PathBuf; 2],
        serial: String,
    },
    Multipath {
        mapped: PathBuf,
        paths: Vec<Node>,
    },
}

impl Node {
    fn open(self, name: &str) -> Result<Box<dyn Device>, DeviceError> {
        Ok(match self {
            Self::Generic(node) => Box::new(ScsiDisk::new(name, Box::new(SgIo::generic(&node)?))),
            Self::Scsi(node) => Box::new(ScsiDisk::new(name, Box::new(SgIo::block(&node)?))),
            Self::Nvme { nodes: [generic, block], serial } => {
                let disk = NvmeDisk::open(name, &serial, &generic);
                Box::new(disk.or_else(|_| NvmeDisk::open(name, &serial, &block))?)
            }
            Self::Multipath { mapped, paths } => {
                // Those that are not there now are of no use.
                let paths = paths.into_iter().filter_map(|path| path.open(name).ok()).collect();
                Box::new(MultipathDisk::open(name, &mapped, paths)?)
            }
        })
    }
}

/// What speaks for the block device with this directory in `/sys`.
fn find(directory: &Path) -> Result<Node, DeviceError> {
    let word = |file: &str| fs::read_to_string(directory.join(file)).map(|text| text.trim().to_owned());
    let kernel_name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if directory.join("partition").exists() {
        return find(directory.parent().ok_or(DeviceError::Gone)?);
    }
    let name = kernel_name(directory);
    let node = Path::new("/dev").join(&name);
    let under = |place: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(directory.join(place)).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    if let Ok(uuid) = word("dm/uuid") {
        let mut below = under("slaves").into_iter().map(|path| find(&fs::canonicalize(path)?));
        return match uuid.split('-').collect::<Vec<_>>().as_slice() {
            ["mpath", ..] => Ok(Node::Multipath { mapped: node, paths: below.collect::<Result<_, _>>()? }),
            // A partition of it.
            [part, "mpath", ..] if part.starts_with("part") => below.next().unwrap_or(Err(DeviceError::Gone)),
            _ => Err(DeviceError::Unsupported("it is made of other disks: name those".to_owned())),
        };
    }
    if let Some(number) = name.strip_prefix("nvme") {
        let generic = Path::new("/dev").join(format!("ng{number}"));
        return Ok(Node::Nvme { nodes: [generic, node], serial: word("wwid").unwrap_or_default() });
    }
    if let Some(generic) = under("device/scsi_generic").first() {
        return Ok(Node::Generic(Path::new("/dev").join(kernel_name(generic))));
    }
    if directory.join("device/scsi_device").exists() {
        return Ok(Node::Scsi(node));
    }
    Err(DeviceError::Unsupported(format!("{name} is neither a SCSI disk nor one of NVM Express")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;
    use crate::resource::Stop;

    /// A `/sys` with a SCSI disk, one without a generic node, a disk of two paths, one of NVM Express and a loop device.
    fn sys() -> anyhow::Result<tempfile::TempDir> {
        let sys = tempfile::tempdir()?;
        let make = |path: &str| fs::create_dir_all(sys.path().join(path));
        let write = |path: &str, text: &str| fs::write(sys.path().join(path), text);
        for (disk, generic) in [("sda", Some("sg0")), ("sdb", Some("sg7")), ("sdc", None)] {
            make(&format!("{disk}/device/scsi_device"))?;
            generic.map_or(Ok(()), |sg| make(&format!("{disk}/device/scsi_generic/{sg}")))?;
        }
        make("sda/sda1")?;
        write("sda/sda1/partition", "1\n")?;
        for (mapped, uuid, slaves) in [
            ("dm-0", "mpath-36001", &["sda", "sdb"][..]),
            ("dm-1", "part1-mpath-36001", &["dm-0"]),
            ("dm-2", "LVM-x", &["sda"]),
        ] {
            make(&format!("{mapped}/dm"))?;
            make(&format!("{mapped}/slaves"))?;
            write(&format!("{mapped}/dm/uuid"), uuid)?;
            for slave in slaves {
                symlink(sys.path().join(slave), sys.path().join(format!("{mapped}/slaves/{slave}")))?;
            }
        }
        make("nvme0n1")?;
        write("nvme0n1/wwid", "eui.0102\n")?;
        make("loop0")?;
        Ok(sys)
    }

    #[test]
    fn every_disk_has_its_node() -> anyhow::Result<()> {
        let sys = sys()?;
        let find = |name: &str| find(&sys.path().join(name));
        assert_eq!(find("sda"), Ok(Node::Generic("/dev/sg0".into())));
        assert_eq!(find("sda/sda1"), find("sda"), "a partition");
        assert_eq!(find("sdc"), Ok(Node::Scsi("/dev/sdc".into())));
        let nodes = ["/dev/ng0n1".into(), "/dev/nvme0n1".into()];
        assert_eq!(find("nvme0n1"), Ok(Node::Nvme { nodes, serial: "eui.0102".to_owned() }));
        let Ok(Node::Multipath { mapped, mut paths }) = find("dm-0") else { panic!("{:?}", find("dm-0")) };
        paths.sort_by_key(|path| format!("{path:?}"));
        assert_eq!((mapped, paths.as_slice()), ("/dev/dm-0".into(), &[find("sda")?, find("sdb")?][..]));
        assert!(matches!(find("dm-1"), Ok(Node::Multipath { .. })), "a partition of it");
        for other in ["dm-2", "loop0"] {
            assert!(matches!(find(other), Err(DeviceError::Unsupported(_))), "{other}");
        }
        Ok(())
    }

    #[test]
    fn a_disk_that_is_not_there_is_gone() -> anyhow::Result<()> {
        let within = Within::new(Duration::from_secs(1), Stop::new()?);
        let none = PathDisk::new("/dev/disk/by-id/no-such-disk".into());
        assert_eq!(none.read(&within), Err(DeviceError::Gone));
        let zero = PathDisk::new("/dev/zero".into());
        assert!(matches!(zero.read(&within), Err(DeviceError::Unsupported(_))));
        Ok(())
    }
}
