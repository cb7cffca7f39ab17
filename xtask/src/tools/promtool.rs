//! Prometheus' own checker of rules, from Debian's package of Prometheus.
//!
//! Installing the package would start a server on the machine, and brings libraries of its web pages. Building the Go module
//! instead takes minutes, for the clients of every cloud there is.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use freshet_e2e::node::{binaries::cache_folder, packages::find_program};

use super::debian;
use crate::steps::Interrupt;

const NAME: &str = "promtool";
const PACKAGE: &str = "prometheus";

/// Returns the program, and fetches it first when it is neither installed nor in the cache.
///
/// # Errors
/// When there is no `apt-get` here, or the package cannot be had.
pub(crate) async fn ensure(interrupt: &mut Interrupt) -> Result<PathBuf> {
    if let Ok(installed) = find_program(NAME) {
        return Ok(installed);
    }
    let tools = cache_folder()?.join("tools");
    let program = tools.join(NAME);
    if program.exists() {
        return Ok(program);
    }
    let unpacked = debian::unpack(PACKAGE, &tools, interrupt).await;
    let unpacked = unpacked.with_context(|| format!("{NAME} is needed to check the alerts"))?;
    let moved = fs::rename(unpacked.path().join("usr/bin").join(NAME), &program);
    moved.with_context(|| format!("the package {PACKAGE} has no {NAME}"))?;
    Ok(program)
}
