//! The cargo subcommands that the checks and the fuzzers need, at pinned versions, installed when missing.
//!
//! They go below the cache folder of the project and not into the user's own `~/.cargo/bin`, so that neither disturbs
//! the other. Their licences do not reach a product binary: nothing links them.

mod debian;
pub(crate) mod promtool;
pub(crate) mod valgrind;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use freshet_e2e::node::binaries::cache_folder;

use crate::steps::{Ending, Interrupt, Invocation, capture, run};

/// One cargo subcommand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tool {
    /// Crate and program: `cargo-deny`.
    pub(crate) name: &'static str,
    version: &'static str,
    /// What it wants to hear before its arguments: some only understand what cargo says to them.
    subcommand: Option<&'static str>,
}

/// Licences, bans, sources and advisories of dependencies.
pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    subcommand: None,
};
/// Dependencies that a manifest names and no source file uses.
pub(crate) const MACHETE: Tool = Tool {
    name: "cargo-machete",
    version: "0.9.2",
    subcommand: None,
};
/// Builds and runs the fuzz targets.
pub(crate) const FUZZ: Tool = Tool {
    name: "cargo-fuzz",
    version: "0.13.2",
    subcommand: None,
};
/// Changes code in ways that a test should notice.
pub(crate) const MUTANTS: Tool = Tool {
    name: "cargo-mutants",
    version: "27.1.0",
    subcommand: Some("mutants"),
};

const INSTALL_TIMEOUT: Duration = Duration::from_secs(20 * 60);
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);

/// Returns the program of a tool, and installs it first when it is missing or of another version.
///
/// # Errors
/// When the installation fails, which needs the crate registry.
pub(crate) async fn ensure(tool: Tool, interrupt: &mut Interrupt) -> Result<PathBuf> {
    let cache = cache_folder()?;
    let root = cache.join("tools");
    let program = root.join("bin").join(tool.name);
    if is_installed(tool, &program, interrupt).await? {
        return Ok(program);
    }
    println!("    installing {} {}", tool.name, tool.version);
    // Run for seconds, built once: full optimisation costs more than it brings.
    let install = Invocation::cargo()
        .args(["install", "--locked", "--quiet", "--version", tool.version])
        .args(["--root".into(), root.into_os_string(), tool.name.into()])
        .env("CARGO_TARGET_DIR", cache.join("tools-build"))
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    let outcome = run(&install, INSTALL_TIMEOUT, interrupt).await?;
    anyhow::ensure!(
        outcome.ending == Ending::Passed,
        "installing {} {}: {}",
        tool.name,
        tool.version,
        outcome.ending
    );
    let build = cache.join("tools-build");
    if build.exists() {
        std::fs::remove_dir_all(&build).with_context(|| format!("removing {}", build.display()))?;
    }
    Ok(program)
}

async fn is_installed(tool: Tool, program: &Path, interrupt: &mut Interrupt) -> Result<bool> {
    if !program.exists() {
        return Ok(false);
    }
    let captured = capture(
        &Invocation::new(program).args(tool.subcommand).args(["--version"]),
        VERSION_TIMEOUT,
        interrupt,
    )
    .await?;
    Ok(captured.ending == Ending::Passed && captured.stdout.split_whitespace().any(|word| word == tool.version))
}
