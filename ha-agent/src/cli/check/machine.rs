//! What of this machine keeps the detector from being on time, and what would help.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::finding::{Code, Finding};
use crate::config::{Config, Mode, RealtimeConfig};
use crate::sys::ethtool::Coalescing;
use crate::sys::realtime::{self, Refusal, Throttling};
use crate::sys::{clock, idle};

/// What the system grants, and how the machine is set up. What takes longer than `slack` is warned of. `sys` and `proc` are
/// where `/sys` and `/proc` are mounted.
pub(super) fn check(sys: &Path, proc: &Path, config: &Config, slack: Duration) -> Vec<Finding> {
    let mut findings = rights(&config.realtime);
    findings.extend(set_up(sys, proc, &config.realtime, slack));
    findings.push(synchronised(clock::is_synchronised(), config.auth.mode));
    findings
}

/// What the system grants of `[realtime]`. To know it, it is taken for a moment.
fn rights(config: &RealtimeConfig) -> Vec<Finding> {
    let refused = |refusal: Refusal| Finding::told(Code::NoRealtime, REALTIME, &refusal);
    let good = |sentence: String| Finding::good(REALTIME, sentence);
    let priority = match config.priority {
        None => good("no real-time priority is asked for".to_owned()),
        Some(priority) => try_priority(priority),
    };
    let memory = if config.lock_memory {
        realtime::lock_memory().map_or_else(refused, |()| good("memory can be locked".to_owned()))
    } else {
        good("memory is not to be locked".to_owned())
    };
    let latency = config.cpu_dma_latency.map(|latency| {
        realtime::hold_dma_latency(latency)
            .map_or_else(refused, |_| good(format!("processors can be kept awake within {latency:?}")))
    });
    [priority, memory].into_iter().chain(latency).collect()
}

/// In a thread of its own, which ends with it.
fn try_priority(priority: u8) -> Finding {
    let Ok(result) = thread::spawn(move || realtime::set_priority(priority)).join() else {
        let sentence = "a thread could not try whether a priority is granted";
        return Finding::new(Code::NoRealtime, REALTIME, sentence).remedied("look at `ulimit -u`");
    };
    match result {
        Ok(()) => Finding::good(REALTIME, format!("priority {priority} is granted")),
        Err(refusal) => Finding::told(Code::NoRealtime, REALTIME, &refusal),
    }
}

fn set_up(sys: &Path, proc: &Path, config: &RealtimeConfig, slack: Duration) -> Vec<Finding> {
    vec![
        throttling(realtime::throttling(proc)),
        idle(idle::deepest_state(sys), config.cpu_dma_latency, slack),
        governors(&idle::governors(sys).into_iter().collect::<Vec<_>>()),
        clock_source(idle::clock_source(sys).as_deref()),
    ]
}

/// For how long an interface holds frames back.
pub(super) fn coalescing(about: &str, name: &str, told: io::Result<Coalescing>, slack: Duration) -> Finding {
    match told {
        Ok(Coalescing { rx, adaptive }) if adaptive || rx > slack => {
            let how = if adaptive {
                "as long as its driver likes (adaptive-rx)".to_owned()
            } else {
                format!("{rx:?}")
            };
            Finding::new(Code::HeldBack, about, format!("its card holds received frames back for {how}"))
                .naming("INTERFACE", name)
        }
        Ok(Coalescing { rx, .. }) => {
            Finding::good(about, format!("its card holds received frames back for at most {rx:?}"))
        }
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            Finding::good(about, "its driver does not tell for how long received frames are held back")
        }
        Err(error) => {
            Finding::good(about, format!("for how long received frames are held back can't be read: {error}"))
        }
    }
}

fn throttling(throttling: Option<Throttling>) -> Finding {
    let good = |sentence: String| Finding::good(MACHINE, sentence);
    let Some(Throttling { runtime_us, period_us }) = throttling else {
        return good("what the kernel leaves to real-time threads can't be read".to_owned());
    };
    match runtime_us {
        ..0 => {
            good("real-time threads may use whole processors (kernel.sched_rt_runtime_us is -1)".to_owned())
        }
        0 => Finding::new(Code::Throttled, MACHINE, "the kernel leaves no time to real-time threads"),
        1.. => good(format!(
            "real-time threads may use {runtime_us} of {period_us} µs (kernel.sched_rt_runtime_us)"
        )),
    }
}

fn idle(deepest: Option<idle::IdleState>, held: Option<Duration>, slack: Duration) -> Finding {
    let Some(idle::IdleState { name, latency }) = deepest else {
        return Finding::good(MACHINE, "how deeply idle processors sleep can't be read");
    };
    match held {
        Some(held) => {
            let sentence =
                format!("idle processors wake up within {held:?} while the agent runs (cpu_dma_latency)");
            Finding::good(MACHINE, sentence)
        }
        None if latency > slack => {
            let sentence = format!("idle processors sleep as deeply as {name}, {latency:?} from waking up");
            let remedy = format!(
                "cpu_dma_latency = \"{}us\" in [realtime] prevents it, and costs power",
                slack.as_micros()
            );
            Finding::new(Code::DeepSleep, MACHINE, sentence).remedied(remedy)
        }
        None => Finding::good(MACHINE, format!("idle processors wake up within {latency:?} ({name})")),
    }
}

fn governors(governors: &[String]) -> Finding {
    let slow = governors.iter().find(|governor| SLOW.contains(&governor.as_str()));
    match (slow, governors) {
        (_, []) => Finding::good(MACHINE, "who sets the frequency of processors can't be read"),
        (Some(slow), _) => {
            let sentence = format!(
                "the frequency of processors is set by {slow}, so what wakes one up may run slowly at first"
            );
            Finding::new(Code::SlowProcessors, MACHINE, sentence)
        }
        (None, all) => {
            Finding::good(MACHINE, format!("the frequency of processors is set by {}", all.join(" and ")))
        }
    }
}

fn clock_source(source: Option<&str>) -> Finding {
    match source {
        None => Finding::good(MACHINE, "where the time is read from can't be read"),
        Some(source) if SLOW_CLOCKS.contains(&source) => {
            let sentence = format!("the time is read from {source}, which takes microseconds each");
            Finding::new(Code::SlowClock, MACHINE, sentence)
        }
        Some(source) => Finding::good(MACHINE, format!("the time is read from {source}")),
    }
}

/// Strict mode compares the clocks of the nodes.
fn synchronised(is: Option<bool>, mode: Mode) -> Finding {
    match (is, mode) {
        (Some(true), _) => Finding::good(MACHINE, "the clock is synchronised"),
        (Some(false), Mode::Strict) => {
            let sentence = "the clock is not synchronised, and strict mode compares those of the nodes";
            Finding::new(Code::NotSynchronised, MACHINE, sentence)
        }
        (Some(false), Mode::Compat) => {
            Finding::good(MACHINE, "the clock is not synchronised, which matters in strict mode only")
        }
        (None, _) => Finding::good(MACHINE, "whether the clock is synchronised can't be read"),
    }
}

const REALTIME: &str = "real time";
const MACHINE: &str = "machine";
/// Governors that raise the frequency only after a while, or never.
const SLOW: [&str; 3] = ["conservative", "ondemand", "powersave"];
/// Clock sources outside of the processor.
const SLOW_CLOCKS: [&str; 4] = ["acpi_pm", "hpet", "jiffies", "pit"];

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_machine_that_tells_nothing_is_no_error() {
        let nowhere = Path::new("/nonexistent");
        let sentences = set_up(nowhere, nowhere, &RealtimeConfig::default(), Duration::from_micros(500));
        assert_eq!(sentences.len(), 4);
        for sentence in sentences {
            assert!(sentence.sentence.ends_with("can't be read"), "{sentence}");
        }
    }

    #[test]
    fn a_machine_that_is_set_up_well_is_not_warned_of() {
        let machine = Files::good();
        assert_eq!(
            machine.set_up(&RealtimeConfig::default()),
            [
                "ok       machine: real-time threads may use 950000 of 1000000 µs (kernel.sched_rt_runtime_us)",
                "ok       machine: idle processors wake up within 133µs (C6)",
                "ok       machine: the frequency of processors is set by performance",
                "ok       machine: the time is read from tsc",
            ]
        );
    }

    #[test]
    fn what_makes_a_detector_late_is_warned_of_with_its_remedy() {
        for (file, text, sentence, remedy) in [
            ("sys/kernel/sched_rt_runtime_us", "0\n", 0, "`sysctl kernel.sched_rt_runtime_us=950000`"),
            ("devices/system/cpu/cpu1/cpuidle/state2/latency", "890\n", 1, "cpu_dma_latency = \"500us\""),
            ("devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave\n", 2, "cpupower frequency-set"),
            ("devices/system/clocksource/clocksource0/current_clocksource", "hpet\n", 3, "dmesg"),
        ] {
            let machine = Files::good();
            machine.write(file, text);
            for (index, said) in machine.set_up(&RealtimeConfig::default()).iter().enumerate() {
                assert_eq!(said.starts_with("warning  "), index == sentence, "{said}");
                assert_eq!(said.contains(remedy), index == sentence, "{said}");
            }
        }
    }

    #[test]
    fn a_state_that_is_disabled_or_kept_out_is_not_warned_of() {
        let machine = Files::good();
        machine.write("devices/system/cpu/cpu1/cpuidle/state2/latency", "890\n");
        let held = RealtimeConfig { cpu_dma_latency: Some(Duration::ZERO), ..RealtimeConfig::default() };
        assert!(machine.set_up(&held)[1].contains("within 0ns"));
        machine.write("devices/system/cpu/cpu1/cpuidle/state2/disable", "1\n");
        assert!(machine.set_up(&RealtimeConfig::default())[1].contains("within 133µs"));
    }

    #[test]
    fn files_that_say_something_else_are_as_if_they_were_not_there() {
        for text in ["", "\n", "many\n", "-5\n", "99999999999999999999\n"] {
            let machine = Files::good();
            for file in ["sys/kernel/sched_rt_period_us", "devices/system/cpu/cpu0/cpuidle/state2/latency"] {
                machine.write(file, text);
            }
            let said = machine.set_up(&RealtimeConfig::default());
            assert!(said[0].ends_with("can't be read"), "{said:?}");
            assert!(said[1].contains("within 133µs"), "the other processor's: {said:?}");
        }
    }

    #[test]
    fn frames_that_are_held_back_are_warned_of() {
        let slack = Duration::from_micros(50);
        let told = |us, adaptive| Ok(Coalescing { rx: Duration::from_micros(us), adaptive });
        for (told, warns) in [
            (told(0, false), false),
            (told(50, false), false),
            (told(51, false), true),
            (told(0, true), true),
        ] {
            let said = coalescing("interface eth0", "eth0", told, slack).to_string();
            assert_eq!(said.starts_with("warning  "), warns, "{said}");
            assert_eq!(said.contains("`ethtool -C eth0 "), warns, "{said}");
        }
        let unsupported = Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        let unknown = coalescing("interface eth0", "eth0", unsupported, slack).to_string();
        assert!(unknown.contains("does not tell"), "{unknown}");
    }

    #[test]
    fn an_unsynchronised_clock_matters_in_strict_mode() {
        for (is, mode, warns) in [
            (Some(true), Mode::Strict, false),
            (Some(false), Mode::Strict, true),
            (Some(false), Mode::Compat, false),
            (None, Mode::Strict, false),
        ] {
            assert_eq!(synchronised(is, mode).code.is_some(), warns, "{is:?} {mode:?}");
        }
    }

    /// A directory that is both `/sys` and `/proc` of a machine with two processors.
    struct Files(TempDir);

    impl Files {
        fn good() -> Self {
            let files = Self(tempfile::tempdir().expect("a directory"));
            for processor in 0..2 {
                let processor = format!("devices/system/cpu/cpu{processor}");
                for (state, name, latency) in [(0, "POLL", 0), (1, "C1", 2), (2, "C6", 133)] {
                    let state = format!("{processor}/cpuidle/state{state}");
                    files.write(&format!("{state}/name"), &format!("{name}\n"));
                    files.write(&format!("{state}/latency"), &format!("{latency}\n"));
                    files.write(&format!("{state}/disable"), "0\n");
                }
                files.write(&format!("{processor}/cpufreq/scaling_governor"), "performance\n");
            }
            files.write("devices/system/cpu/cpuidle/current_driver", "intel_idle\n");
            files.write("devices/system/clocksource/clocksource0/current_clocksource", "tsc\n");
            files.write("sys/kernel/sched_rt_runtime_us", "950000\n");
            files.write("sys/kernel/sched_rt_period_us", "1000000\n");
            files
        }

        fn write(&self, file: &str, text: &str) {
            let path = self.0.path().join(file);
            fs::create_dir_all(path.parent().expect("a directory")).expect("it");
            fs::write(path, text).expect("a file");
        }

        /// With 500 µs to lose.
        fn set_up(&self, config: &RealtimeConfig) -> Vec<String> {
            let found = set_up(self.0.path(), self.0.path(), config, Duration::from_micros(500));
            found.iter().map(ToString::to_string).collect()
        }
    }
}
