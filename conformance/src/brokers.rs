//! The brokers that scripts run against.

mod freshet;

use std::net::SocketAddr;
use std::path::Path;

use tokio::process::Child;

/// A broker in a process of its own; killed with its value.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    _child: Child,
}

impl Broker {
    /// Starts `freshet standalone` with its defaults.
    ///
    /// # Errors
    /// When the program is not there or does not begin to listen.
    pub(crate) async fn freshet(program: &Path) -> anyhow::Result<Self> {
        freshet::start(program).await
    }
}
