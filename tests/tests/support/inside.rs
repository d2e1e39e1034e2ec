//! Running the agent's own parts inside a network namespace.

use std::future::Future;
use std::sync::Arc;

use anyhow::{Context, Result};
use ha_agent::net::link::{Interface, Interfaces, Monitor};
use lab::Netns;
use tokio::runtime::{Builder, Runtime};

/// A runtime whose work is done by the thread of a namespace.
#[derive(Clone, Debug)]
pub(crate) struct Inside<'a> {
    netns: &'a Netns,
    runtime: Arc<Runtime>,
}

impl<'a> Inside<'a> {
    pub(crate) fn new(netns: &'a Netns) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { netns, runtime: Arc::new(runtime) })
    }

    /// Runs something to its end.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        let runtime = Arc::clone(&self.runtime);
        self.netns.run(move || runtime.block_on(work))
    }

    /// The interfaces as they are now.
    pub(crate) fn interfaces(&self) -> Result<Interfaces> {
        self.run(async { Monitor::open()?.interfaces().await.map_err(anyhow::Error::from) })?
    }

    /// The interface of a name.
    pub(crate) fn interface(&self, name: &str) -> Result<Interface> {
        self.interfaces()?.get(name).cloned().with_context(|| format!("no interface {name}"))
    }
}
