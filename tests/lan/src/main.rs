//! `virtual-lan SCHEDULES SEED` runs random schedules, and says whether every property held, or which schedule was the first
//! to break one. `virtual-lan matrix` prints the matrix of detection times and false failovers.

use std::process::ExitCode;

use virtual_lan::{matrix, schedule};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match &args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["matrix"] => {
            print!("{}", matrix::table());
            ExitCode::SUCCESS
        }
        [count, seed] => match (count.parse(), seed.parse()) {
            (Ok(count), Ok(seed)) => search(seed, count),
            (Err(_), _) | (_, Err(_)) => usage(),
        },
        _ => usage(),
    }
}

fn search(seed: u64, count: u64) -> ExitCode {
    match schedule::search(seed, count) {
        None => {
            println!("held every property in {count} schedules");
            ExitCode::SUCCESS
        }
        Some(find) => {
            println!(
                "{:?} broken by schedule {}: {}",
                find.violation.property, find.run, find.violation.what
            );
            println!("{:#?}", find.schedule);
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: virtual-lan matrix | virtual-lan SCHEDULES SEED");
    ExitCode::from(2)
}
