//! What the kernel tells of this machine's interfaces, for commands that need no agent.

use std::io;

use tokio::runtime::{Builder, Runtime};

use crate::agent::AgentError;
use crate::net::link::{Interfaces, Monitor};

/// The interfaces as they are now, and a runtime to go on with.
pub(super) fn interfaces() -> Result<(Runtime, Interfaces), AgentError> {
    let failed = |what| move |cause: io::Error| AgentError::Os { what, cause };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed("a runtime"))?;
    let interfaces = runtime.block_on(async {
        let monitor = Monitor::open().map_err(failed("a netlink socket"))?;
        monitor.interfaces().await.map_err(AgentError::Netlink)
    })?;
    Ok((runtime, interfaces))
}
