//! The BPF object that the build put into the binary.

/// The object's bytes, or `None` in a binary that was built without (see `build.rs`).
#[must_use]
pub fn embedded() -> Option<&'static [u8]> {
    (!OBJECT.is_empty()).then_some(OBJECT)
}

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/ha_carp.o"));
