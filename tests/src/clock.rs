//! A time of day for one process alone. Its monotonic clock stays the machine's.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::netns::FILES;

/// A clock that can be set, for processes that are started with its environment.
///
/// The kernel has no time of day for some processes only, and `libfaketime` moves timers on the monotonic clock,
/// too: so this stands between them and the C library's `clock_gettime`, and nothing else.
#[derive(Debug)]
pub struct Clock {
    ahead: File,
    directory: TempDir,
}

impl Clock {
    /// Makes a clock that is right.
    ///
    /// # Errors
    ///
    /// Without the C compiler that Rust links with.
    pub fn new() -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix(&format!("{FILES}{}-", std::process::id())).tempdir()?;
        let source = directory.path().join("clock.c");
        fs::write(&source, SOURCE)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(directory.path().join(LIBRARY)).arg(&source);
        let output = compiler.output().context("cc could not be started; is a C compiler installed?")?;
        ensure!(output.status.success(), "{compiler:?}: {}", String::from_utf8_lossy(&output.stderr));
        let clock = Self { ahead: File::create(directory.path().join(AHEAD))?, directory };
        clock.set(0)?;
        Ok(clock)
    }

    /// Steps it: from now on it is so many milliseconds ahead of the machine's, or behind.
    ///
    /// # Errors
    ///
    /// If that can't be written down.
    pub fn set(&self, ahead_ms: i64) -> Result<()> {
        Ok(self.ahead.write_all_at(&ahead_ms.to_ne_bytes(), 0)?)
    }

    /// What a process is started with to live by it.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let path = |name| self.directory.path().join(name).display().to_string();
        vec![("LD_PRELOAD".to_owned(), path(LIBRARY)), ("LAB_CLOCK".to_owned(), path(AHEAD))]
    }
}

const LIBRARY: &str = "clock.so";
/// A signed 64-bit number, in this machine's byte order.
const AHEAD: &str = "ahead";

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile const long long *ahead_ms;

__attribute__((constructor)) static void open_clock(void) {
    const char *path = getenv("LAB_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) abort();
    void *page = mmap(NULL, sizeof *ahead_ms, PROT_READ, MAP_SHARED, file, 0);
    if (page == MAP_FAILED) abort();
    ahead_ms = page;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && clock == CLOCK_REALTIME && ahead_ms) {
        long long ms = *ahead_ms;
        time->tv_sec += ms / 1000;
        time->tv_nsec += ms % 1000 * 1000000;
        if (time->tv_nsec < 0) { time->tv_nsec += 1000000000; time->tv_sec -= 1; }
        if (time->tv_nsec >= 1000000000) { time->tv_nsec -= 1000000000; time->tv_sec += 1; }
    }
    return result;
}
"#;
