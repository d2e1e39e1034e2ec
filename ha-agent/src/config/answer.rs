//! Single values that somebody answers to a question, judged as they are in the file. What is wrong is said in a sentence.

use ipnet::IpNet;

use super::{address, value};

/// A node's name.
///
/// # Errors
///
/// If it is none.
pub(crate) fn node(text: &str) -> Result<String, String> {
    value::name("node", text).map_err(|mistake| mistake.to_string())
}

/// A virtual address with the length of its prefix.
///
/// # Errors
///
/// If it is none.
pub(crate) fn virtual_address(text: &str) -> Result<IpNet, String> {
    address::virtual_address(text).map_err(|mistake| mistake.to_string())
}

/// The time between two advertisements, as it was said.
///
/// # Errors
///
/// If it is none.
pub(crate) fn interval(text: &str) -> Result<String, String> {
    let judged = value::duration(text, &value::INTERVAL).map_err(|mistake| mistake.to_string());
    judged.map(|_| text.to_owned())
}
