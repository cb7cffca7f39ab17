//! `freshet standalone`, the broker under test.

use std::path::Path;

use anyhow::Context as _;

use super::Broker;
use crate::toolchain::Program;

/// Starts it on a port of the system's choice, and waits until it says where it listens.
pub(super) async fn start(program: &Path) -> anyhow::Result<Broker> {
    Broker::of(Program::new(program).args(["standalone", "--listen", "127.0.0.1:0"]))
        .await
        .context("`cargo build --release --bins` makes freshet")
}
