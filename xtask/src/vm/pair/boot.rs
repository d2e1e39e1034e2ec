//! QEMU's command line for a guest.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    super::machine,
    guest::socket,
    who::{Disk, Net, Node, Who},
};

/// A guest before it is started.
pub(super) struct Boot {
    pub(super) who: Who,
    pub(super) qemu: PathBuf,
    pub(super) kernel: PathBuf,
    pub(super) initramfs: PathBuf,
    /// Its own layer upon the root that all have.
    pub(super) layer: PathBuf,
    /// Where its sockets and logs are.
    pub(super) dir: PathBuf,
    /// The port of this machine where the target is reached.
    pub(super) target: u16,
    /// What a node sees, and where.
    pub(super) disks: BTreeMap<Disk, SocketAddr>,
}

impl Boot {
    /// The whole command.
    pub(super) fn command(&self) -> Command {
        // So that it ends with us, whatever ends us.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(self.qemu.join("usr/bin/qemu-system-x86_64"));
        machine::with_libraries(&mut command, &self.qemu);
        command.arg("-L").arg(self.qemu.join("usr/share/qemu"));
        command.arg("-L").arg(self.qemu.join("usr/share/seabios"));
        command.args(MACHINE).args(["-name", self.who.name(), "-m", memory(self.who)]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initramfs);
        command.args(["-append", &self.kernel_line()]);
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", self.socket("qmp")));
        self.lines(&mut command);
        let layer = self.layer.display();
        // What the guest was told is stored must be in the file when its power is cut: QEMU knows where, and is killed.
        drive(&mut command, "root", &format!("file={layer},format=qcow2,cache=writeback"), "");
        if self.who == Who::Target {
            for disk in Disk::ALL {
                let file = disk_file(&self.dir, disk);
                drive(
                    &mut command,
                    disk.name(),
                    &format!("file={file},format=raw"),
                    &format!(",serial={disk}"),
                );
            }
            let forward = format!("user,id=iscsi,restrict=on,hostfwd=tcp:127.0.0.1:{}-:3260", self.target);
            command.args(["-netdev", &forward, "-device", "virtio-net-pci,netdev=iscsi,romfile="]);
        }
        for net in self.who.nets() {
            let path = port(&self.dir, *net, self.who);
            let netdev = format!("stream,id={net},server=off,addr.type=unix,addr.path={}", path.display());
            let device = format!("virtio-net-pci,netdev={net},mac={},romfile=", net.mac(self.who));
            command.args(["-netdev", &netdev, "-device", &device]);
        }
        self.shared_disks(&mut command);
        command
    }

    /// The console and the guest agent's line.
    fn lines(&self, command: &mut Command) {
        let log = self.dir.join(format!("{}.console.log", self.who));
        let (console, log) = (self.socket("console"), log.display());
        command.arg("-chardev");
        command
            .arg(format!("socket,id=console,path={console},server=on,wait=off,logfile={log},logappend=on"));
        command.args(["-serial", "chardev:console", "-device", "virtio-serial-pci"]);
        command
            .arg("-chardev")
            .arg(format!("socket,id=agent,path={},server=on,wait=off", self.socket("agent")));
        command.args(["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]);
    }

    /// The target's disks, of which both nodes may be writing: who may is for reservations to say.
    fn shared_disks(&self, command: &mut Command) {
        let nodes = Node::ALL.into_iter().find(|node| node.who() == self.who);
        let Some(node) = nodes else { return };
        command.args(["-device", "virtio-scsi-pci,id=scsi"]);
        for (disk, address) in &self.disks {
            let (lun, initiator) = (disk.lun(), node.initiator());
            command.arg("-blockdev").arg(format!(
                "driver=iscsi,node-name={disk},transport=tcp,portal={address},target={TARGET},lun={lun},\
                 initiator-name={initiator},cache.direct=on"
            ));
            command.args(["-device", &format!("scsi-block,bus=scsi.0,lun={lun},drive={disk},share-rw=on")]);
        }
    }

    fn kernel_line(&self) -> String {
        let who = self.who;
        let nets = who.nets().iter().enumerate();
        let mut nets: Vec<_> = nets.map(|(card, net)| format!("eth{card}:{}/24", net.address(who))).collect();
        let modules = match who {
            // The address that QEMU's own network expects.
            Who::Target => {
                nets.push("eth0:10.0.2.15/24".to_owned());
                "virtio_net,target_core_mod,target_core_iblock,iscsi_target_mod"
            }
            Who::A | Who::B => "virtio_net,virtio_scsi,sd_mod,sg,softdog",
            Who::Client => "virtio_net",
        };
        let (host, nets) = (who.host(), nets.join(","));
        format!(
            "{KERNEL_LINE} systemd.hostname={who} lab.hostid={host:08x} lab.modules={modules} lab.net={nets}"
        )
    }

    fn socket(&self, what: &str) -> String {
        socket(&self.dir, self.who, what).display().to_string()
    }
}

/// The socket at which `who` is connected to `net`.
pub(super) fn port(dir: &Path, net: Net, who: Who) -> PathBuf {
    dir.join(format!("{who}.{net}"))
}

/// The file with the contents of `disk`.
pub(super) fn disk(dir: &Path, disk: Disk) -> PathBuf {
    dir.join(format!("{disk}.raw"))
}

fn disk_file(dir: &Path, which: Disk) -> String {
    disk(dir, which).display().to_string()
}

/// A disk that the guest has for itself.
fn drive(command: &mut Command, name: &str, file: &str, more: &str) {
    command.arg("-drive").arg(format!("if=none,id={name},discard=unmap,{file}"));
    command.arg("-device").arg(format!("virtio-blk-pci,drive={name}{more}"));
}

/// MiB.
const fn memory(who: Who) -> &'static str {
    match who {
        Who::A | Who::B => "1024",
        Who::Target | Who::Client => "512",
    }
}

/// As the target names itself; `lab-target` has it, too.
const TARGET: &str = "iqn.2026-11.test.lab:disks";
/// A processor that is emulated, by the machine's clock: what others take from it, the guest is late.
#[rustfmt::skip]
const MACHINE: [&str; 14] = [
    "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35",
    "-accel", "tcg,thread=multi,tb-size=128", "-cpu", "max,la57=off", "-smp", "1",
    "-device", "virtio-rng-pci",
];
/// A guest that panics boots anew, as a controller does.
const KERNEL_LINE: &str = "console=ttyS0 quiet loglevel=5 panic=1 oops=panic mitigations=off apparmor=0 audit=0 \
                           net.ifnames=0 random.trust_cpu=on systemd.show_status=0 systemd.wants=lab.service";
