//! What passes for an ha-agent until it is to run: then it ends, or, if the last byte of its file is an `h`, hangs.

use std::process::ExitCode;
use std::thread;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("--version") => println!("ha-agent 9.9.9"),
        Some("check") => println!("all is well"),
        _ if std::fs::read("/proc/self/exe").is_ok_and(|bytes| bytes.last() == Some(&b'h')) => loop {
            thread::park();
        },
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}
