//! What the kernel program says, in the agent's own log.

use std::io;

use aya::Ebpf;
use aya_log::EbpfLogger;

use crate::sys::readable::readable;

/// Begins to pass the program's rare diagnostics on; the future does it, and never ends by itself.
///
/// # Errors
///
/// If the object has no log. Must be called on a tokio runtime with I/O.
pub(super) fn forward(bpf: &mut Ebpf) -> io::Result<impl Future<Output = ()> + Send + use<>> {
    let mut logger = readable(EbpfLogger::init(bpf).map_err(io::Error::other)?)?;
    Ok(async move {
        while let Ok(mut guard) = logger.readable_mut().await {
            guard.get_inner_mut().0.flush();
            guard.clear_ready();
        }
    })
}
