//! Packages of Debian that are unpacked and not installed: what a check needs is not to change the machine.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::steps::{Interrupt, Invocation, output_of};

const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(5 * 60);
const UNPACK_TIMEOUT: Duration = Duration::from_secs(60);

/// An unpacked package. Goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Unpacked {
    folder: PathBuf,
}

impl Unpacked {
    /// Where its files are, as below `/`.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join("unpacked")
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        // What is left is found by the next one who looks into the cache.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Fetches a package and unpacks it in a folder below `tools`.
///
/// # Errors
/// When there is no `apt-get` here, or the package cannot be had.
pub(crate) async fn unpack(package: &str, tools: &Path, interrupt: &mut Interrupt) -> Result<Unpacked> {
    println!("    fetching the Debian package {package}");
    let folder = tools.join(format!("{package}.{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let unpacked = Unpacked { folder };
    let folder = unpacked.folder.as_path();
    let apt = |arguments: &[&str]| {
        Invocation::new("apt-get")
            .args(["--quiet"])
            .args(arguments.iter().copied())
            .dir(folder)
    };
    // The lists may be there and current: asking a mirror first would cost the offline machine its packages.
    if output_of(&apt(&["download", package]), DOWNLOAD_TIMEOUT, interrupt)
        .await
        .is_err()
    {
        output_of(&apt(&["update"]), DOWNLOAD_TIMEOUT, interrupt).await?;
        output_of(&apt(&["download", package]), DOWNLOAD_TIMEOUT, interrupt).await?;
    }
    let file = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get left no package")?;
    let into = unpacked.path();
    let unpack = Invocation::new("dpkg-deb").args(["--extract".as_ref(), file.as_os_str(), into.as_os_str()]);
    output_of(&unpack, UNPACK_TIMEOUT, interrupt).await?;
    Ok(unpacked)
}
