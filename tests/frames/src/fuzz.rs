//! What the fuzz targets do with their input. `tests/fuzz` runs them under libFuzzer, `tests/tests/corpus.rs` on
//! what that has found.
//!
//! Each takes any bytes, and panics where something does not hold.

mod carp_header;
mod config;
mod control;
mod decode;
mod http;
mod kernel;
mod nobody;
mod peer_link;
mod replay;
mod sniff;

use std::cell::{OnceCell, RefCell};

pub use carp_header::carp_header;
pub use config::config;
pub use control::control;
pub use decode::decode;
pub use http::http;
pub use kernel::{kernel, play};
pub use peer_link::peer_link;
pub use replay::replay;
pub use sniff::sniff;

use crate::{Kernel, site};

/// Gives the same input to the loaded program and to user space's judge, which must agree; to the latter alone
/// where the program can't be loaded.
pub fn kernel_of_this_thread(bytes: &[u8]) {
    thread_local! {
        static KERNEL: OnceCell<Option<RefCell<Kernel>>> = const { OnceCell::new() };
    }
    KERNEL.with(|kernel| {
        let kernel = kernel.get_or_init(|| Kernel::load(&site()).map(Into::into));
        match kernel {
            Some(loaded) => self::kernel(&mut loaded.borrow_mut(), bytes),
            None => drop(play(bytes, &site())),
        }
    });
}
