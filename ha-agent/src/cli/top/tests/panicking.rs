//! That the terminal is given back when the view panics: tried in a process of its own.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::thread;

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};

use super::super::on_terminal;

#[test]
fn a_panic_gives_the_terminal_back() {
    if std::env::var_os(INSIDE).is_some() {
        let shown = on_terminal(|terminal| {
            terminal.draw(|frame| frame.render_widget("drawn", frame.area()))?;
            panic!("it is meant to");
        });
        return shown.expect("no end but the panic");
    }
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None).expect("a pseudo-terminal");
    let end = || Stdio::from(pty.slave.try_clone().expect("another handle"));
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "cli::top::tests::panicking::a_panic_gives_the_terminal_back", "--nocapture"]);
    command.env(INSIDE, "1").env("RUST_BACKTRACE", "0").env("TERM", "xterm");
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("it starts");
    drop(command);
    let mut master = File::from(pty.master);
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        // It ends with an error once nobody has the other end.
        let _ = master.read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    });
    let status = child.wait().expect("it ends");
    let flags = tcgetattr(pty.slave.as_fd()).expect("a terminal").local_flags;
    drop(pty.slave);
    let output = reader.join().expect("all that it wrote");
    assert!(!status.success() && output.contains("drawn"), "{status}: {output:?}");
    assert!(flags.contains(LocalFlags::ECHO | LocalFlags::ICANON), "keys are not shown any more: {flags:?}");
    let last = |code: &str| output.rfind(code).unwrap_or_else(|| panic!("no {code:?} in {output:?}"));
    assert!(last("\x1b[?1049h") < last("\x1b[?1049l"), "the screen is not as it was: {output:?}");
    assert!(last("\x1b[?25l") < last("\x1b[?25h"), "there is no cursor: {output:?}");
    assert!(last("it is meant to") > last("\x1b[?1049l"), "the message is gone with the screen: {output:?}");
}

const INSIDE: &str = "HA_TOP_PANICS";
