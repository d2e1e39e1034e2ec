//! What keeps a thread on time: a real-time priority, memory that stays where it is, processors that sleep lightly.
//!
//! Each is asked of the system, which may refuse it: everything works without, but later under load.

use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use thiserror::Error;

use super::capabilities::{self, Capability};

/// Why something was not granted. Displayed, it is one line with cause and remedy.
#[derive(Debug, Error)]
pub enum Refusal {
    /// The priority of a thread.
    #[error("no real-time priority {priority}: {cause}; {remedy}, or set priority = \"off\" in [realtime]")]
    Priority {
        /// What was asked for.
        priority: u8,
        /// The system's error.
        cause: io::Error,
        /// What would help.
        remedy: &'static str,
    },
    /// Locked memory.
    #[error(
        "memory is not locked: {0}; grant CAP_IPC_LOCK or raise the limit (LimitMEMLOCK=infinity), or set \
         lock_memory = false in [realtime]"
    )]
    Memory(#[source] io::Error),
    /// The depth of sleep.
    #[error(
        "processors may sleep as deeply as they like: {DMA_LATENCY} can't be used: {0}; run as root on a kernel with \
         CONFIG_CPU_IDLE, or leave cpu_dma_latency out of [realtime]"
    )]
    DmaLatency(#[source] io::Error),
}

/// Schedules the calling thread in `SCHED_FIFO` with a priority of 1 to 99: it then runs before everything that has
/// less. Threads and processes that it starts do not inherit that.
///
/// # Errors
///
/// [`Refusal::Priority`]: without the right, nothing changes.
pub fn set_priority(priority: u8) -> Result<(), Refusal> {
    // 0 is this thread.
    let Err(cause) = schedule(0, Some(priority)) else { return Ok(()) };
    // Whoever may, and is refused all the same, is in a control group that has no real-time budget.
    let remedy = if capabilities::has(Capability::SysNice) {
        "give its control group real-time (cpu.rt_runtime_us)"
    } else {
        "grant CAP_SYS_NICE or raise the limit (LimitRTPRIO=99)"
    };
    Err(Refusal::Priority { priority, cause, remedy })
}

/// Schedules a thread in `SCHED_FIFO` with a priority, or as usual. Threads that it starts are scheduled as usual.
pub(super) fn schedule(thread: libc::pid_t, priority: Option<u8>) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority.unwrap_or(0).into() };
    let policy = if priority.is_some() { libc::SCHED_FIFO } else { libc::SCHED_OTHER };
    let policy = policy | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the call reads the parameters, which outlive it, and writes to no memory of ours.
    match unsafe { libc::sched_setscheduler(thread, policy, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes the top of the calling thread's stack, more than any of ours needs, resident.
pub fn touch_stack() {
    #[expect(clippy::large_stack_arrays, reason = "that is what it is for; a thread has 2 MiB")]
    let room = [0_u8; STACK];
    black_box(&room);
}

/// Lets go of what the start has used since memory was locked, and keeps what is used of it from then on. The program's own code
/// stays. What the system does not let go of stays as well, which costs memory and nothing else.
///
/// # Errors
///
/// [`Refusal::Memory`]: some of what is used from then on may not be locked.
pub fn settle() -> Result<(), Refusal> {
    // Without it, all stays as it is.
    let Ok(maps) = fs::read_to_string("/proc/self/smaps") else { return Ok(()) };
    let parts = unwritten(&maps, |part| !is_own_code(part));
    parts.into_iter().map(|part| let_go(part, true)).fold(Ok(()), Result::and).map_err(Refusal::Memory)
}

/// Keeps all memory of the process where it is, that of later as well, and reads in all code: so nothing that runs for
/// the first time waits for a disk. Memory that was never used costs nothing.
///
/// # Errors
///
/// [`Refusal::Memory`]: without the right, nothing changes.
pub fn lock_memory() -> Result<(), Refusal> {
    let limit = memory_limit().map_err(Refusal::Memory)?;
    // A limit that is enough now would refuse memory later, which nobody survives.
    if let Some(limit) = limit.filter(|_| !capabilities::has(Capability::IpcLock)) {
        let cause = format!("at most {} KiB may be (RLIMIT_MEMLOCK)", limit / 1024);
        return Err(Refusal::Memory(io::Error::new(io::ErrorKind::PermissionDenied, cause)));
    }
    give_back();
    // What it takes stays locked otherwise.
    let_go_of_the_start();
    // SAFETY: changes nothing that a program could see but its speed.
    let locked = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if locked != 0 {
        return Err(Refusal::Memory(io::Error::last_os_error()));
    }
    // What can't be read in now is when it is needed.
    let _ = read_in_code();
    Ok(())
}

/// Lets no processor sleep so deeply that it would take longer to wake up, in whole microseconds, for as long as the
/// file is open.
///
/// # Errors
///
/// [`Refusal::DmaLatency`]: not permitted, or not in this kernel.
pub fn hold_dma_latency(latency: Duration) -> Result<File, Refusal> {
    let hold = || {
        let mut file = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(DMA_LATENCY)?;
        let microseconds = i32::try_from(latency.as_micros()).unwrap_or(i32::MAX);
        file.write_all(&microseconds.to_ne_bytes())?;
        Ok(file)
    };
    hold().map_err(Refusal::DmaLatency)
}

/// What the kernel leaves to real-time threads before others have their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttling {
    /// So much of each period, in µs; -1: all of it.
    pub runtime_us: i64,
    /// The period, in µs.
    pub period_us: u64,
}

/// What `/proc/sys/kernel` says of it; `None` if it can't be read there.
#[must_use]
pub fn throttling(proc: &Path) -> Option<Throttling> {
    let read = |name: &str| fs::read_to_string(proc.join("sys/kernel").join(name)).ok();
    let runtime_us = read("sched_rt_runtime_us")?.trim().parse().ok()?;
    let period_us = read("sched_rt_period_us")?.trim().parse().ok()?;
    Some(Throttling { runtime_us, period_us })
}

/// Gives back to the system what is free, most of it left over from the start: locked, it would stay.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: glibc guards its own lists; nothing that is in use moves.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// How much memory may be locked, in bytes, raised as far as it may be; `None` for any amount.
fn memory_limit() -> io::Result<Option<u64>> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    if hard == RLIM_INFINITY && soft != hard {
        setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard)?;
        return Ok(None);
    }
    Ok((soft != RLIM_INFINITY).then_some(soft))
}

/// Reads in the code of the program. What it needs of libraries it has used by then, and everybody else keeps them in
/// memory, too.
fn read_in_code() -> io::Result<()> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    for (start, end) in maps.lines().filter_map(code) {
        let address = std::ptr::without_provenance_mut(start);
        // SAFETY: reading pages in changes nothing that a program could see, wherever they are.
        if unsafe { libc::madvise(address, end - start, libc::MADV_POPULATE_READ) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Lets go of what the start has used and little of it is used after it: code of libraries, relocations, the BPF program, texts.
/// What is used is there again at once: everybody else keeps the C library in memory, too.
fn let_go_of_the_start() {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    for part in unwritten(&maps, |_| true) {
        // Nothing was locked that would have to be again.
        let _ = let_go(part, false);
    }
}

/// Lets go of an unwritten part, if the system does. One that is locked is so afterwards, whatever becomes of it, or that is the
/// error.
fn let_go((start, end): (usize, usize), locked: bool) -> io::Result<()> {
    let (address, length) = (std::ptr::without_provenance_mut(start), end - start);
    // SAFETY: this is of a file, and nobody has written to it or may: its pages are taken from the file again when they
    // are used. The loader writes to none of it any more: it has ended.
    let refused = unsafe {
        // One that is locked can't be let go of.
        if locked {
            libc::munlock(address, length);
        }
        libc::madvise(address, length, libc::MADV_DONTNEED);
        locked && libc::mlock2(address, length, libc::MLOCK_ONFAULT) != 0
    };
    if refused { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Start and end of the code that a line of `/proc/self/maps` stands for, if it is code from a file that is no library.
fn code(line: &str) -> Option<(usize, usize)> {
    part(line).filter(is_own_code).map(|part| (part.start, part.end))
}

fn is_own_code(part: &Part<'_>) -> bool {
    part.permissions == "r-xp" && !part.file.contains(".so")
}

/// Start and end of the parts of files that are as they are in the file, and stay so, by `/proc/self/smaps`. What is relocated
/// and then only read is not among them.
fn unwritten(maps: &str, is_wanted: impl Fn(&Part<'_>) -> bool) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut current = None;
    for line in maps.lines() {
        match line.split_ascii_whitespace().next() {
            // Pages of its own, which are no longer the file's.
            Some("Anonymous:") if line.ends_with(" 0 kB") => found.extend(current.take()),
            Some(field) if field.ends_with(':') => {}
            Some(_) | None => {
                let is_read =
                    |part: &Part<'_>| ["r--p", "r-xp"].contains(&part.permissions) && is_wanted(part);
                current = part(line).filter(is_read).map(|part| (part.start, part.end));
            }
        }
    }
    found
}

/// A part of a file that is mapped.
struct Part<'a> {
    start: usize,
    end: usize,
    permissions: &'a str,
    file: &'a str,
}

/// The part that a line stands for; `None` if it is of no file.
fn part(line: &str) -> Option<Part<'_>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let file = fields.nth(3)?.rsplit_once('/')?.1;
    let number = |text| usize::from_str_radix(text, 16).ok();
    let part = Part { start: number(start)?, end: number(end)?, permissions, file };
    (part.start < part.end).then_some(part)
}

const DMA_LATENCY: &str = "/dev/cpu_dma_latency";
/// What the detector's thread uses is a third of it.
const STACK: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_comes_from_files() {
        let maps = "\
5571c2a00000-5571c2a34000 r--p 00000000 fe:00 1234 /usr/sbin/ha-agent
5571c2a34000-5571c2f30000 r-xp 00034000 fe:00 1234 /usr/sbin/a path (deleted)
5571c2f30000-5571c2f50000 r--p 00530000 fe:00 1234 /usr/sbin/ha-agent
7ffc0a1f0000-7ffc0a1f2000 r-xp 00000000 00:00 0 [vdso]
7f0000000000-7f0000021000 rw-p 00000000 00:00 0
7f0000100000-7f0000200000 r-xp 00010000 fe:00 1235 /usr/lib/x86_64-linux-gnu/libm.so.6
nonsense
5-4 r-xp 0 0 0 /x";
        assert_eq!(maps.lines().filter_map(code).collect::<Vec<_>>(), [(0x5571_c2a3_4000, 0x5571_c2f3_0000)]);
    }

    #[test]
    fn only_what_is_as_in_the_file_is_let_go() {
        let maps = "\
1000-2000 r--p 00000000 fe:00 1 /usr/lib/libm.so.6
Rss:                 4 kB
Anonymous:             0 kB
LazyFree:              0 kB
2000-3000 r-xp 00001000 fe:00 1 /usr/lib/libm.so.6
Anonymous:             0 kB
3000-4000 r--p 00002000 fe:00 1 /usr/lib/relocated.so
Anonymous:            16 kB
4000-5000 rw-p 00003000 fe:00 1 /usr/lib/libm.so.6
Anonymous:             0 kB
5000-6000 r--s 00000000 00:0f 9 anon_inode:bpf-map
Anonymous:             0 kB
6000-7000 r--p 00000000 00:00 0
Anonymous:             0 kB
7000-8000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
";
        assert_eq!(unwritten(maps, |_| true), [(0x1000, 0x2000), (0x2000, 0x3000)]);
        let own = fs::read_to_string("/proc/self/smaps").expect("/proc");
        assert!(unwritten(&own, |_| true).len() > 3, "{own}");
        let_go_of_the_start();
    }

    #[test]
    fn what_has_settled_is_locked() {
        /// Which of these parts are locked now.
        fn locked(parts: &[(usize, usize)]) -> Vec<bool> {
            let maps = fs::read_to_string("/proc/self/smaps").expect("/proc");
            let flags = |(start, _): &(usize, usize)| {
                let after = maps.lines().skip_while(|line| !line.starts_with(&format!("{start:x}-")));
                let mut flags = after.filter_map(|line| line.strip_prefix("VmFlags:"));
                flags.next().is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "lo"))
            };
            parts.iter().map(flags).collect()
        }
        if !capabilities::has(Capability::IpcLock) {
            eprintln!("skipped, because memory may not be locked without CAP_IPC_LOCK");
            return;
        }
        let maps = fs::read_to_string("/proc/self/smaps").expect("/proc");
        let (wanted, own) = (unwritten(&maps, |part| !is_own_code(part)), unwritten(&maps, is_own_code));
        settle().expect("it may be locked");
        assert!(wanted.len() > 3 && locked(&wanted).into_iter().all(|locked| locked), "{maps}");
        assert!(own.len() == 1 && !locked(&own).contains(&true), "{maps}");
        for (start, end) in wanted {
            // SAFETY: changes nothing that a program could see but its speed.
            unsafe { libc::munlock(std::ptr::without_provenance_mut(start), end - start) };
        }
    }

    #[test]
    fn a_priority_is_that_of_one_thread_and_not_of_its_children() {
        /// Policy and priority of the calling thread, by `/proc`.
        fn scheduled() -> (u32, u32) {
            let stat = fs::read_to_string("/proc/thread-self/stat").expect("/proc");
            // After the name, which may contain anything, come the fields from the third on.
            let fields: Vec<_> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
            (fields[38].parse().expect("a policy"), fields[37].parse().expect("a priority"))
        }
        let before = scheduled();
        let thread = std::thread::spawn(|| {
            let result = set_priority(7);
            touch_stack();
            (result, scheduled(), std::thread::spawn(scheduled).join().expect("a child"))
        });
        let (result, own, child) = thread.join().expect("a thread");
        match result {
            Ok(()) => assert_eq!(own, (libc::SCHED_FIFO.unsigned_abs(), 7)),
            Err(refusal) => {
                assert!(refusal.to_string().contains("; "), "no remedy: {refusal}");
                assert_eq!(own, before);
            }
        }
        assert_eq!((child, scheduled()), (before, before));
    }
}
