//! A real etcd, as the witness of a pair.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::netns::{FILES, Netns};
use crate::process::Process;

/// One member, alone, in a namespace; killed when dropped, its files removed.
#[derive(Debug)]
pub struct Etcd {
    /// The process.
    pub process: Process,
    url: String,
    tls: bool,
    directory: TempDir,
}

impl Etcd {
    /// Starts it and waits until it serves. With `tls`, it has a certificate of an authority of its own, and wants one of
    /// whoever asks.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn start(netns: &Netns, address: Ipv4Addr, tls: bool) -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix(&format!("{FILES}{}-", std::process::id())).tempdir()?;
        let scheme = if tls { "https" } else { "http" };
        let url = format!("{scheme}://{address}:2379");
        if tls {
            make_certificates(&directory, address)?;
        }
        let process = netns.spawn(&command(&directory, &url, tls))?;
        let etcd = Self { process, url, tls, directory };
        etcd.wait(0)?;
        Ok(etcd)
    }

    /// Where it serves.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills it (`SIGKILL`), and waits until it has ended.
    ///
    /// # Errors
    ///
    /// If it does not end.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait(PATIENCE).map(drop)
    }

    /// Starts it again with what it had stored.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn restart(&mut self, netns: &Netns) -> Result<()> {
        self.process = netns.spawn(&command(&self.directory, &self.url, self.tls))?;
        self.wait(0)
    }

    /// Who has the role, by what stands at the only key: the node's name, and the generation.
    ///
    /// # Errors
    ///
    /// If it can't be asked.
    pub fn holder(&self, netns: &Netns) -> Result<Option<(String, u64)>> {
        let mut client = self.client();
        client.args(["get", "--prefix", "ha-agent/", "--print-value-only"]);
        let mut process = netns.spawn(&client)?;
        let status = process.wait(PATIENCE)?;
        let lines = process.lines();
        ensure!(status.success(), "{client:?}: {}", lines.join("\n"));
        let Some(line) = lines.iter().find(|line| line.starts_with('{')) else { return Ok(None) };
        let value: Value = serde_json::from_str(line)?;
        let node = value["node"].as_str().context("no node")?.to_owned();
        Ok(Some((node, value["generation"].as_u64().context("no generation")?)))
    }

    /// The lines of a `[witness]` that belong to it.
    #[must_use]
    pub fn witness(&self) -> String {
        let Self { url, tls, directory, .. } = self;
        let files = [("ca_file", "ca.pem"), ("cert_file", "client.pem"), ("key_file", "client.key")];
        let files = files
            .iter()
            .filter(|_| *tls)
            .map(|(key, file)| format!("{key} = \"{}\"\n", directory.path().join(file).display()));
        format!("etcd = [{url:?}]\n{}", files.collect::<String>())
    }

    /// Has it tell of each change of the key, from now on: `PUT` and `DELETE`.
    ///
    /// # Errors
    ///
    /// Without `etcdctl`.
    pub fn watch(&self, netns: &Netns) -> Result<Process> {
        netns.spawn(self.client().args(["watch", "--prefix", "ha-agent/"]))
    }

    fn client(&self) -> Command {
        let mut client = Command::new("etcdctl");
        client.env("ETCDCTL_API", "3").args(["--endpoints", &self.url]);
        if self.tls {
            let file = |name| self.directory.path().join(name);
            client.arg("--cacert").arg(file("ca.pem"));
            client.arg("--cert").arg(file("client.pem")).arg("--key").arg(file("client.key"));
        }
        client
    }

    fn wait(&self, from: usize) -> Result<()> {
        self.process.wait_for_line(from, "serving", PATIENCE).map(drop)
    }
}

fn command(directory: &TempDir, url: &str, tls: bool) -> Command {
    let path = directory.path();
    // Nobody else is a member; and two of them in two namespaces do not meet.
    let peers = "http://127.0.0.1:2380";
    let mut command = Command::new("etcd");
    command.args(["--name", "only", "--initial-cluster", &format!("only={peers}")]);
    command.args(["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]);
    command.args(["--listen-client-urls", url, "--advertise-client-urls", url]);
    command.arg("--data-dir").arg(path.join("data"));
    if tls {
        command.arg("--cert-file").arg(path.join("etcd.pem"));
        command.arg("--key-file").arg(path.join("etcd.key"));
        command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(path.join("ca.pem"));
    }
    command
}

/// An authority, and certificates for etcd at the address and for who asks it, with `openssl`.
fn make_certificates(directory: &TempDir, address: Ipv4Addr) -> Result<()> {
    let path = directory.path();
    fs::write(path.join("names"), format!("subjectAltName=IP:{address}\n"))?;
    for arguments in [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=etcd -keyout etcd.key -out etcd.csr",
        "x509 -req -in etcd.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out etcd.pem",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=client -keyout client.key -out client.csr",
        "x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out client.pem",
    ] {
        let output = Command::new("openssl").current_dir(path).args(arguments.split(' ')).output();
        let output = output.context("openssl could not be started; is its package installed?")?;
        ensure!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

const PATIENCE: Duration = Duration::from_secs(20);
