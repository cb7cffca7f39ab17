//! Prometheus' own checker of rules, from Debian's package of Prometheus.
//!
//! The package is unpacked and not installed: installing it would start a server on the machine, and brings libraries of
//! its web pages. Building the Go module instead takes minutes, for the clients of every cloud there is.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use freshet_e2e::node::{binaries::cache_folder, packages::find_program};

use crate::steps::{Interrupt, Invocation, output_of};

const NAME: &str = "promtool";
const PACKAGE: &str = "prometheus";
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(5 * 60);
const UNPACK_TIMEOUT: Duration = Duration::from_secs(60);

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
    println!("    fetching {NAME} (Debian package {PACKAGE})");
    let folder = tools.join(format!("{NAME}.{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let fetched = fetch(&folder, &program, interrupt).await;
    fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    fetched.with_context(|| format!("{NAME} is needed to check the alerts"))?;
    Ok(program)
}

async fn fetch(folder: &Path, program: &Path, interrupt: &mut Interrupt) -> Result<()> {
    let apt = |arguments: &[&str]| {
        Invocation::new("apt-get")
            .args(["--quiet"])
            .args(arguments.iter().copied())
            .dir(folder)
    };
    // The lists may be there and current: asking a mirror first would cost the offline machine its packages.
    if output_of(&apt(&["download", PACKAGE]), DOWNLOAD_TIMEOUT, interrupt)
        .await
        .is_err()
    {
        output_of(&apt(&["update"]), DOWNLOAD_TIMEOUT, interrupt).await?;
        output_of(&apt(&["download", PACKAGE]), DOWNLOAD_TIMEOUT, interrupt).await?;
    }
    let package = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get left no package")?;
    let unpacked = folder.join("unpacked");
    let unpack = Invocation::new("dpkg-deb").args(["--extract".as_ref(), package.as_os_str(), unpacked.as_os_str()]);
    output_of(&unpack, UNPACK_TIMEOUT, interrupt).await?;
    fs::rename(unpacked.join("usr/bin").join(NAME), program).context("the package has no promtool")
}
