//! What becomes of a virtual host when its agent ends without leaving: the next agent reads it here.

/// That this node was master of a virtual host. Written by the agent, for the next one; the program does not read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Standing {
    /// When its last advertisement had left, in ns of `CLOCK_BOOTTIME`, which goes on while the machine sleeps.
    pub advertised_ns: u64,
    /// The index of its interface; 0 if this says nothing.
    pub ifindex: u32,
    /// Its number, 1 to 255.
    pub vhid: u32,
}
