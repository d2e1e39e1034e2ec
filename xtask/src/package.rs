//! The Debian package: the agent, its unit, pages, completions, an example; what is done when it comes and goes.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    agent, packages, paths,
    process::{output, say, shown},
};

/// `cargo xtask package`
///
/// # Errors
///
/// Something cannot be built.
pub(crate) fn run() -> Result<()> {
    packages::ensure(&["dpkg-dev", "gzip"])?;
    let agent = agent::build_agent()?;
    let package = build(&agent, &paths::target_dir()?.join("package"), None)?;
    say(format_args!("made {}", package.display()));
    Ok(())
}

/// Makes the package of an agent, of its own version or `version`, in the directory `into`. Returns its path.
///
/// # Errors
///
/// The agent does not run here, or a file cannot be written.
pub(crate) fn build(agent: &Path, into: &Path, version: Option<&str>) -> Result<PathBuf> {
    let said = output(Command::new(agent).arg("--version"))?;
    let own = said.trim().strip_prefix("ha-agent ").with_context(|| format!("no version: {said}"))?;
    let version = version.unwrap_or(own);
    let architecture = output(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned();
    let name = format!("ha-agent_{version}_{architecture}");
    let tree = Tree { root: into.join(&name) };
    // Nothing of an earlier one.
    let _ = fs::remove_dir_all(&tree.root);

    tree.add("usr/sbin/ha-agent", &fs::read(agent).with_context(|| agent.display().to_string())?, 0o755)?;
    shown(Command::new("strip").arg("--strip-debug").arg(tree.root.join("usr/sbin/ha-agent")))?;
    tree.copy("ha-agent/dist/ha-agent.service", "lib/systemd/system/ha-agent.service", 0o644)?;
    tree.copy("docs/ha-agent.toml", "usr/share/doc/ha-agent/examples/ha-agent.toml", 0o644)?;
    tree.copy("ha-agent/dist/storage.conf", "usr/share/doc/ha-agent/examples/storage.conf", 0o644)?;
    for file in ["prometheus/ha-agent.rules.yml", "grafana/ha-agent.json"] {
        tree.copy(
            &format!("ha-agent/dist/{file}"),
            &format!("usr/share/doc/ha-agent/examples/{file}"),
            0o644,
        )?;
    }
    tree.copy("README.md", "usr/share/doc/ha-agent/README.md", 0o644)?;
    tree.add("usr/share/doc/ha-agent/copyright", copyright()?.as_bytes(), 0o644)?;
    fs::create_dir_all(tree.root.join("etc/ha-agent")).context("etc/ha-agent")?;
    tree.pages(agent)?;
    for (shell, path) in COMPLETIONS {
        let script = output(Command::new(agent).args(["completions", shell]))?;
        tree.add(path, script.as_bytes(), 0o644)?;
    }
    for script in ["postinst", "prerm", "postrm"] {
        tree.copy(&format!("ha-agent/dist/debian/{script}"), &format!("DEBIAN/{script}"), 0o755)?;
    }
    tree.add("DEBIAN/control", control(version, &architecture).as_bytes(), 0o644)?;
    let package = into.join(format!("{name}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "-Zgzip", "--build"]).arg(&tree.root).arg(&package);
    output(&mut build)?;
    Ok(package)
}

/// What is in the package.
struct Tree {
    root: PathBuf,
}

impl Tree {
    fn add(&self, path: &str, contents: &[u8], mode: u32) -> Result<()> {
        let path = self.root.join(path);
        let written =
            path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, contents));
        let set = written.and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
        set.with_context(|| format!("cannot write {}", path.display()))
    }

    /// Of the workspace.
    fn copy(&self, from: &str, path: &str, mode: u32) -> Result<()> {
        let from = paths::root().join(from);
        let contents = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        self.add(path, &contents, mode)
    }

    /// The manual: a page for each subcommand, by the agent itself, and one for the configuration.
    fn pages(&self, agent: &Path) -> Result<()> {
        let [commands, files] = ["usr/share/man/man8", "usr/share/man/man5"].map(|path| self.root.join(path));
        fs::create_dir_all(&commands).context("the manual")?;
        output(Command::new(agent).args(["man", "--to"]).arg(&commands))?;
        let example = paths::root().join("docs/ha-agent.toml");
        let example = fs::read_to_string(&example).with_context(|| example.display().to_string())?;
        self.add("usr/share/man/man5/ha-agent.toml.5", page(&example).as_bytes(), 0o644)?;
        for directory in [commands, files] {
            let pages = fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
            let pages: Vec<_> = pages.map(|page| Ok(page?.path())).collect::<Result<_>>()?;
            output(Command::new("gzip").args(["-9n"]).args(pages))?;
        }
        Ok(())
    }
}

fn control(version: &str, architecture: &str) -> String {
    format!(
        "\
Package: ha-agent
Version: {version}
Architecture: {architecture}
Maintainer: ha-agent <https://github.com/ha-agent/ha-agent>
Section: net
Priority: optional
Depends: libc6 (>= 2.34), adduser
Suggests: bpftool, zfsutils-linux, sg3-utils, fence-agents
Description: failover agent for pairs of Linux machines
 Controllers, routers, gateways, load balancers: one is active and announces
 itself by CARP, the other one stands by. A program in the kernel (XDP) stamps
 and authenticates the announcements; the agent takes the addresses over, with
 storage and services where there are shared disks.
"
    )
}

/// The example with all keys, as a page.
fn page(example: &str) -> String {
    let mut page = "\
.TH ha-agent.toml 5
.SH NAME
ha-agent.toml \\- the configuration of ha-agent
.SH DESCRIPTION
This file has every key, and says what it is for. It is /etc/ha-agent/ha-agent.toml unless the command line says otherwise.
.PP
.nf
"
    .to_owned();
    for line in example.lines() {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        // A dot or an apostrophe at the beginning would be a request.
        if line.starts_with(['.', '\'']) {
            page.push_str("\\&");
        }
        page.push_str(&line);
        page.push('\n');
    }
    page.push_str(".fi\n.SH SEE ALSO\n.BR ha-agent (8)\n");
    page
}

fn copyright() -> Result<String> {
    let mut text = "Licensed under either of these, at your option.\n".to_owned();
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        let license = fs::read_to_string(paths::root().join(name)).with_context(|| name.to_owned())?;
        text = format!("{text}\n==== {name}\n\n{license}");
    }
    Ok(text)
}

const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/ha-agent"),
    ("zsh", "usr/share/zsh/vendor-completions/_ha-agent"),
    ("fish", "usr/share/fish/vendor_completions.d/ha-agent.fish"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shows_the_example_as_it_is() {
        let page = page(".a-b\n'c\\d\n");
        assert!(page.contains("\n\\&.a\\-b\n\\&'c\\ed\n.fi\n"), "{page}");
    }
}
