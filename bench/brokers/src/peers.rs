//! Installs and builds the brokers of others: Debian's Mosquitto, and Go programs around pinned libraries.

use std::path::{Path, PathBuf};

use freshet_e2e::command;
use freshet_e2e::node::binaries::cache_folder;
use freshet_e2e::node::packages::{self, Group};
use freshet_e2e::progress::{Step, step};

use crate::brokers::Kind;

/// Makes sure that brokers can be started.
///
/// # Errors
/// When a package cannot be installed, there is no Go, or a program cannot be built.
pub(crate) fn prepare(kinds: &[Kind]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if kinds.contains(&Kind::Mosquitto) {
            step("mosquitto", async |step: &Step| {
                packages::ensure(&[Group::Brokers], step).await
            })
            .await?;
        }
        if kinds.iter().any(|kind| kind.go_program().is_some()) {
            step("nats-server and Mochi", async |step: &Step| build_go(step).await).await?;
        }
        Ok(())
    })
}

/// Where a Go program is once it is built.
///
/// # Errors
/// When there is no cache folder.
pub(crate) fn go_program(name: &str) -> anyhow::Result<PathBuf> {
    Ok(cache_folder()?.join("bench").join(name))
}

async fn build_go(step: &Step) -> anyhow::Result<()> {
    let target = go_program("")?;
    std::fs::create_dir_all(&target)?;
    // Go itself knows what has changed.
    let mut go = tokio::process::Command::new("go");
    go.env("CGO_ENABLED", "0");
    go.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("go"));
    go.args(["build", "-mod=readonly", "-trimpath", "-o"])
        .arg(&target)
        .arg("./...");
    command::run(&mut go).await?;
    step.outcome(format!("built: {}", target.display()));
    Ok(())
}
