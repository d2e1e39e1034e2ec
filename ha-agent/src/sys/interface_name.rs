//! The name that an interface has now.

use std::io;

use nix::net::if_::if_indextoname;

/// The name of the interface with this index, in the network namespace of the calling thread.
///
/// # Errors
///
/// `ENODEV` if there is none.
pub(crate) fn of(ifindex: u32) -> io::Result<String> {
    // nix 0.31 takes the C function's refusal for success, with an empty name.
    let name = if_indextoname(ifindex)?.into_string().map_err(io::Error::other)?;
    if name.is_empty() { Err(io::Error::from_raw_os_error(libc::ENODEV)) } else { Ok(name) }
}
