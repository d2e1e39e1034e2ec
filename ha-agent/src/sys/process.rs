//! This process, as others know it.

/// Its number as the whole machine knows it; 0 if that is not known, as in a container with numbers of its own.
#[must_use]
pub fn id_on_machine() -> u32 {
    let namespace = std::fs::read_link("/proc/self/ns/pid");
    if namespace.is_ok_and(|namespace| namespace.as_os_str() == MACHINE) { std::process::id() } else { 0 }
}

/// The first of its kind (`PROC_PID_INIT_INO`, `linux/proc_ns.h`).
const MACHINE: &str = "pid:[4026531836]";
