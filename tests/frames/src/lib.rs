//! Frames of one's own: built byte by byte, judged by the loaded program and by user space's build of the same
//! code at once. What is found by fuzzing is found here, and stays found in the tests.

pub mod advertisement;
pub mod asking;
pub mod echo;
pub mod fuzz;
pub mod hook;
pub mod kernel;
pub mod outcome;
pub mod packet;
pub mod site;

pub use advertisement::Advertisement;
pub use hook::Hook;
pub use kernel::Kernel;
pub use outcome::Outcome;
pub use packet::{Packet, Packet6};
pub use site::site;
