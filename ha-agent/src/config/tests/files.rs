//! Files that cannot be read, or hold no passphrase.

use std::fs::{self, File};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

use nix::sys::stat::Mode;
use nix::unistd::{self, Uid};

use super::{CONFIG, FULL, GOOD, KEY, OLD_KEY, Site};
use crate::cli::exit::Exit;

#[test]
fn a_configuration_must_be_a_readable_file() {
    let site = Site::new(GOOD);
    let directory = site.directory.path();
    unistd::mkfifo(&site.path("fifo"), Mode::S_IRUSR).expect("a FIFO");
    let _socket = UnixListener::bind(site.path("socket")).expect("a socket");
    // Sparse: it takes no room on the disk.
    File::create(site.path("huge")).and_then(|file| file.set_len((1 << 20) + 1)).expect("a file");
    let name_one = "name a file with --config FILE";
    for (path, expected) in [
        (
            site.path("no.toml"),
            "DIR/no.toml: the file does not exist; create it, or name another with --config FILE",
        ),
        (
            site.path("ha-agent.toml/x"),
            "DIR/ha-agent.toml/x: the file does not exist; create it, or name another with --config FILE",
        ),
        (
            site.path("no\nsuch"),
            "DIR/no\\nsuch: the file does not exist; create it, or name another with --config FILE",
        ),
        (directory.into(), &format!("DIR: the file is a directory; {name_one}")),
        (site.path("fifo"), &format!("DIR/fifo: the file is a FIFO, not a regular file; {name_one}")),
        (site.path("socket"), &format!("DIR/socket: the file is a socket, not a regular file; {name_one}")),
        ("/dev/zero".into(), &format!("/dev/zero: the file is a device, not a regular file; {name_one}")),
        (
            site.path("huge"),
            "DIR/huge: the file is larger than 1048576 bytes; is it a configuration? name another with --config FILE",
        ),
    ] {
        assert_eq!(site.refusal_of(&path), (expected.into(), Exit::Config));
    }
}

#[test]
fn a_file_of_the_largest_size_is_read() {
    let site = Site::new(GOOD);
    let comment = "#".repeat((1 << 20) - GOOD.len());
    site.write(CONFIG, format!("{GOOD}{comment}"));
    assert_eq!(site.warnings(), [""; 0]);
}

#[test]
fn what_the_system_fails_to_read_is_the_systems_error() {
    let site = Site::new("");
    let path = site.path(CONFIG);
    fs::remove_file(&path)
        .and_then(|()| std::os::unix::fs::symlink(CONFIG, &path))
        .expect("a link to itself");
    let (line, exit) = site.refusal();
    assert!(line.starts_with("DIR/ha-agent.toml: the file cannot be read: "), "{line}");
    assert_eq!(exit, Exit::Os);
}

#[test]
fn a_file_of_somebody_else_is_a_matter_of_permission() {
    let site = Site::new(GOOD);
    let remedy = "run as root, or change its owner or mode";
    site.chmod(CONFIG, 0o000);
    let expected = format!("DIR/ha-agent.toml: the file may not be read by this user; {remedy}");
    assert_eq!(as_nobody(|| site.refusal()), (expected, Exit::NoPermission));

    site.chmod(CONFIG, 0o644);
    site.chmod(KEY, 0o000);
    let expected =
        format!("DIR/ha-agent.toml:4: passphrase file DIR/carp.key may not be read by this user; {remedy}");
    assert_eq!(as_nobody(|| site.refusal()), (expected, Exit::NoPermission));
}

#[test]
fn a_passphrase_file_must_be_a_readable_file() {
    let site = Site::new(GOOD);
    let key = site.path(KEY);
    fs::remove_file(&key).expect("to remove it");
    assert_key_refused(&site, &format!("passphrase file DIR/carp.key does not exist; {MAKE_ONE}"));

    fs::create_dir(&key).expect("a directory");
    let expected = "passphrase file DIR/carp.key is a directory; passphrase_file must name a file";
    assert_key_refused(&site, expected);

    fs::remove_dir(&key).expect("to remove it");
    unistd::mkfifo(&key, Mode::S_IRUSR).expect("a FIFO");
    let expected =
        "passphrase file DIR/carp.key is a FIFO, not a regular file; passphrase_file must name a file";
    assert_key_refused(&site, expected);

    fs::remove_file(&key).expect("to remove it");
    site.write(KEY, "s".repeat(4097));
    let expected = "passphrase file DIR/carp.key is larger than 4096 bytes; write only the passphrase into it, \
                    in its first line";
    assert_key_refused(&site, expected);
}

#[test]
fn a_passphrase_file_must_hold_a_passphrase_that_peers_can_use() {
    let empty = format!("the first line of passphrase file DIR/carp.key is empty; {MAKE_ONE}");
    let too_long = |length| {
        format!(
            "the passphrase in DIR/carp.key has {length} bytes, at most 19 are allowed because CARP peers would cut \
             it off silently; shorten it on every node"
        )
    };
    let nul = format!(
        "the passphrase in DIR/carp.key contains a NUL byte, where other implementations end it; {MAKE_ONE}"
    );
    for (contents, expected) in [
        ("", &empty),
        ("\n", &empty),
        ("\r\nsecret\n", &empty),
        ("secret-of-20-bytes..", &too_long(20)),
        ("secret-of-20-bytes..\r\n", &too_long(20)),
        (&"s".repeat(4096), &too_long(4096)),
        ("secret\0\n", &nul),
        ("\0", &nul),
    ] {
        let site = Site::new(GOOD);
        site.write(KEY, contents);
        assert_key_refused(&site, expected);
        assert!(!site.refusal().0.contains("secret"), "the passphrase is told");
    }
}

#[test]
fn each_of_two_passphrase_files_is_named_in_its_mistakes() {
    let (one, two) = ("[\"carp.key\", \"old.key\"]", "[\n\"carp.key\",\n\"old.key\"]");
    for (line, name) in [(5, KEY), (6, OLD_KEY)] {
        let site = Site::new(FULL.replace(one, two));
        fs::remove_file(site.path(name)).expect("to remove it");
        let make_one = MAKE_ONE.replace(KEY, name);
        let expected =
            format!("DIR/ha-agent.toml:{line}: passphrase file DIR/{name} does not exist; {make_one}");
        assert_eq!(site.refusal(), (expected, Exit::Config));

        site.write(name, "");
        let expected = format!(
            "DIR/ha-agent.toml:{line}: the first line of passphrase file DIR/{name} is empty; {make_one}"
        );
        assert_eq!(site.refusal(), (expected, Exit::Config));

        site.write(name, "secret");
        site.chmod(name, 0o644);
        let expected = format!(
            "DIR/ha-agent.toml:{line}: passphrase file DIR/{name} is world-readable (mode 0644); \
             run: chmod 600 DIR/{name}"
        );
        assert_eq!(site.warnings(), [expected]);
    }
}

#[test]
fn the_command_in_the_remedy_makes_a_good_passphrase_file() {
    // A path that a shell would take apart.
    let site = Site::new(GOOD.replace(KEY, "it's a $KEY"));
    let error = site.load().expect_err("a refusal").to_string();
    let command = error.split('`').nth(1).expect("a command");
    let status = Command::new("sh").args(["-c", command]).status().expect("a shell");
    assert!(status.success(), "{command}");

    let config = site.load().expect("a configuration");
    assert_eq!(config.auth.passphrases[0].as_bytes().len(), 16);
    assert_eq!(config.warnings, [""; 0]);
}

#[test]
fn mistakes_in_the_text_come_before_those_in_the_passphrase_file() {
    let site = Site::new("node = \"a\"\n[auth]\npassphrase_file = \"no.key\"\n");
    let expected =
        "DIR/ha-agent.toml:1: no [[vhost]] in this file; add one with name, interface, vhid and addresses";
    assert_eq!(site.refusal(), (expected.into(), Exit::Config));
}

fn assert_key_refused(site: &Site, expected: &str) {
    assert_eq!(site.refusal(), (format!("DIR/ha-agent.toml:4: {expected}"), Exit::Config));
}

/// Runs `test` without the rights of root over files, on a thread of its own: they are the thread's.
fn as_nobody<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if Uid::effective().is_root() {
                unistd::setfsuid(Uid::from_raw(NOBODY));
            }
            test()
        });
        thread.join().expect("the test")
    })
}

const NOBODY: u32 = 65534;

const MAKE_ONE: &str =
    "make one with `(umask 077; head -c 12 /dev/urandom | base64 > DIR/carp.key)` and copy it to every node";
