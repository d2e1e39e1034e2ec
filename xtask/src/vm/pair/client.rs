//! What a client does with what the nodes serve: mounts it or logs in, writes all the time, and checks what is there.

use std::time::{Duration, Instant};

use ::lab::pass;
use anyhow::{Context as _, Result, ensure};

use super::{
    agents::ADDRESS,
    guest::{Guest, PATIENCE},
    served::VOLUME,
};

/// The writers of a client: one by NFS, one by iSCSI.
pub(super) struct Writers<'a>([Writer<'a>; 2]);

/// A client that writes records, one after the other, each acknowledged before the next one (tests/src/bin/records.rs).
pub(super) struct Writer<'a> {
    client: &'a Guest,
    /// Of its unit, and of the file with the numbers that were acknowledged.
    name: String,
    file: String,
}

impl<'a> Writers<'a> {
    /// Has `client`, which has [mounted](mount) and [logged in](log_in), begin to write.
    ///
    /// # Errors
    ///
    /// It cannot be started, or does not come on.
    pub(super) fn start(client: &'a Guest) -> Result<Self> {
        let writers = Self([
            Writer::start(client, "nfs", "/mnt/records")?,
            Writer::start(client, "iscsi", &disk(ADDRESS, VOLUME))?,
        ]);
        writers.go_on(50)?;
        Ok(writers)
    }

    /// Waits until each has written `count` records more.
    ///
    /// # Errors
    ///
    /// That is not so within two minutes, or one had an error.
    pub(super) fn go_on(&self, count: u64) -> Result<()> {
        for writer in &self.0 {
            writer.further(writer.acknowledged()? + count, PATIENCE)?;
        }
        Ok(())
    }

    /// Ends them, and checks that every acknowledged record is there. Returns what they had to say, in one line.
    ///
    /// # Errors
    ///
    /// One had an error, or a record is missing.
    pub(super) fn check(self) -> Result<String> {
        let [nfs, iscsi] = self.0.map(Writer::check);
        Ok(format!("NFS {}; iSCSI {}", one_line(&nfs?), one_line(&iscsi?)))
    }
}

/// Its lines, with commas between them.
pub(super) fn one_line(text: &str) -> String {
    text.trim().replace('\n', ", ")
}

/// Mounts `path` of the NFS server at `address` (version 4.2) in the directory `/mnt` of `client`. It waits for a server
/// for ever, as clients do by default.
///
/// # Errors
///
/// It cannot be mounted.
pub(super) fn mount(client: &Guest, address: &str, path: &str) -> Result<()> {
    client.run(&format!("mount -t nfs4 -o vers=4.2,hard {address}:{path} /mnt"))?;
    Ok(())
}

/// Logs in to the iSCSI target `name` at `address`, and waits for its [`disk`].
///
/// # Errors
///
/// It cannot log in, or no disk comes.
pub(super) fn log_in(client: &Guest, address: &str, name: &str) -> Result<()> {
    let portal = format!("{address}:3260");
    client.run(&format!(
        "echo InitiatorName={INITIATOR} >/etc/iscsi/initiatorname.iscsi; systemctl start iscsid"
    ))?;
    client.run(&format!("iscsiadm --mode discovery --type sendtargets --portal {portal}"))?;
    client.run(&format!("iscsiadm --mode node --targetname {name} --portal {portal} --login"))?;
    client.until(&format!("test -b {}", disk(address, name)), PATIENCE)?;
    Ok(())
}

/// Where the client has the first disk of the iSCSI target `name` at `address`.
pub(super) fn disk(address: &str, name: &str) -> String {
    format!("/dev/disk/by-path/ip-{address}:3260-iscsi-{name}-lun-0")
}

impl<'a> Writer<'a> {
    /// Has `client` begin to write to `file`, which may be a device. The writer has a `name` of its own.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub(super) fn start(client: &'a Guest, name: &str, file: &str) -> Result<Self> {
        let writer = Self { client, name: format!("records-{name}"), file: file.to_owned() };
        let (unit, acknowledged) = (&writer.name, writer.acknowledged_file());
        client.run(&format!(
            "rm -f {acknowledged}; \
             systemd-run --quiet --collect --unit={unit} --property=StandardOutput=truncate:{acknowledged}.said \
             /usr/local/bin/records write {file} {acknowledged}"
        ))?;
        writer.further(0, PATIENCE)?;
        Ok(writer)
    }

    /// How many records are acknowledged.
    ///
    /// # Errors
    ///
    /// The client does not answer.
    pub(super) fn acknowledged(&self) -> Result<u64> {
        let count = self.client.run(&format!("wc -l <{}", self.acknowledged_file()))?;
        count.trim().parse().with_context(|| format!("'{count}' is no number"))
    }

    /// Waits until more than `count` are.
    ///
    /// # Errors
    ///
    /// They are not within `patience`, or the writer had an error.
    pub(super) fn further(&self, count: u64, patience: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            let state = self.client.try_run(&format!("systemctl is-active {}", self.name), PATIENCE)?;
            ensure!(state.code == 0, "the writer has ended: {}", self.said()?);
            // The file appears with the first record.
            if self.acknowledged().unwrap_or_default() > count {
                return Ok(());
            }
            ensure!(began.elapsed() < patience, "no record after the {count}th within {patience:?}");
            pass(Duration::from_millis(200))?;
        }
    }

    /// Ends it, and checks that every acknowledged record is there. Returns what it had to say of answers that were
    /// long in coming, and of what was found.
    ///
    /// # Errors
    ///
    /// It had an error, or a record is missing.
    pub(super) fn check(self) -> Result<String> {
        self.client.run(&format!("systemctl stop {}", self.name))?;
        let said = self.said()?;
        ensure!(!said.contains("error"), "the writer had an error: {said}");
        // From the server, not from the client's memory.
        self.client.run("echo 3 >/proc/sys/vm/drop_caches")?;
        let found = self.client.run(&format!("records check {} {}", self.file, self.acknowledged_file()))?;
        Ok(format!("{said}{}", found.trim_end()))
    }

    fn said(&self) -> Result<String> {
        self.client.run(&format!("cat {}.said", self.acknowledged_file()))
    }

    /// On the client's own disk.
    fn acknowledged_file(&self) -> String {
        format!("/var/tmp/{}", self.name)
    }
}

/// As `lab-serve` knows it.
pub(super) const INITIATOR: &str = "iqn.2026-11.test.lab:client";
