//! Valgrind, which counts the instructions of a program whatever else the machine does.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use freshet_e2e::node::{binaries::cache_folder, packages::find_program};

use super::debian;
use crate::steps::{Interrupt, Invocation};

const NAME: &str = "valgrind";
/// Its program behind the script of the package, which looks for debug files of the machine.
const PROGRAM: &str = "usr/bin/valgrind.bin";
/// Where its tools are.
const TOOLS: &str = "usr/libexec/valgrind";

/// Valgrind, installed or in the cache.
#[derive(Debug)]
pub(crate) enum Valgrind {
    Installed(PathBuf),
    Unpacked(PathBuf),
}

impl Valgrind {
    /// Fetches it when it is neither installed nor in the cache.
    ///
    /// # Errors
    /// When there is no `apt-get` here, or the package cannot be had.
    pub(crate) async fn ensure(interrupt: &mut Interrupt) -> Result<Self> {
        if let Ok(installed) = find_program(NAME) {
            return Ok(Self::Installed(installed));
        }
        let tools = cache_folder()?.join("tools");
        let folder = tools.join(NAME);
        if !folder.join(PROGRAM).exists() {
            let unpacked = debian::unpack(NAME, &tools, interrupt).await;
            let unpacked = unpacked.context("valgrind is needed to count instructions")?;
            fs::rename(unpacked.path(), &folder).with_context(|| format!("moving to {}", folder.display()))?;
        }
        Ok(Self::Unpacked(folder))
    }

    /// Begins a command line.
    pub(crate) fn invocation(&self) -> Invocation {
        match self {
            Self::Installed(program) => Invocation::new(program),
            Self::Unpacked(folder) => Invocation::new(folder.join(PROGRAM)).env("VALGRIND_LIB", folder.join(TOOLS)),
        }
    }
}
