//! `virtual-lan SCHEDULES SEED` runs random schedules, and says whether every property held, or which schedule was the first
//! to break one; `virtual-lan pair SCHEDULES SEED` does so for a pair, and
//! `virtual-lan pair story NUMBER` tells what the nodes of one of its schedules wrote down. `virtual-lan matrix` prints the matrix of detection times and false failovers.

use std::process::ExitCode;

use virtual_lan::{matrix, pair, schedule};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match &args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["matrix"] => {
            print!("{}", matrix::table());
            ExitCode::SUCCESS
        }
        ["pair", "story", number] => match number.parse() {
            Ok(number) => tell(number),
            Err(_) => usage(),
        },
        ["pair", count, seed] => match (count.parse(), seed.parse()) {
            (Ok(count), Ok(seed)) => search_pair(seed, count),
            (Err(_), _) | (_, Err(_)) => usage(),
        },
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

fn search_pair(seed: u64, count: u64) -> ExitCode {
    match pair::schedule::search(seed, count) {
        None => {
            println!("held every property in {count} schedules");
            ExitCode::SUCCESS
        }
        Some(find) => {
            println!("{} (schedule {})", find.violation, find.run);
            println!("{:#?}", find.schedule);
            for line in find.story {
                println!("{line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn tell(number: u64) -> ExitCode {
    let schedule = pair::schedule::Schedule::of(number);
    println!("{schedule:#?}");
    let (violation, story) = schedule.run();
    for line in story {
        println!("{line}");
    }
    violation.map_or(ExitCode::SUCCESS, |violation| {
        println!("{violation}");
        ExitCode::FAILURE
    })
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: virtual-lan matrix | virtual-lan [pair] SCHEDULES SEED | virtual-lan pair story NUMBER"
    );
    ExitCode::from(2)
}
