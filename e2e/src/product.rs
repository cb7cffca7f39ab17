//! Freshet itself on a cluster: its images, built from this checkout, and its chart.
//!
//! `xtask up` and the end-to-end tests install it the same way.

pub mod chart;
pub mod images;

mod cargo;

use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::sync::Mutex;

use crate::Cluster;
use crate::node::{UpOptions, packages};
use crate::progress::step;

pub use images::Images;

/// Returns the cluster of the tests with Freshet on it, as this checkout builds it.
///
/// What is as it should be is left alone, so that each test may ask for it.
///
/// # Errors
/// When something does not build, or the operator does not become ready.
pub async fn for_tests(options: UpOptions) -> anyhow::Result<(Cluster, Images)> {
    // Helm refuses what two ask for at once.
    static INSTALLING: Mutex<()> = Mutex::const_new(());
    let _installing = INSTALLING.lock().await;
    let cluster = Cluster::for_tests(options).await?;
    let groups = [packages::Group::Images, packages::Group::Clients];
    step("Debian packages of the tests", async |step| {
        packages::ensure(&groups, step).await
    })
    .await?;
    let images = step("Freshet's images", images::build).await?;
    for archive in images.archives().unwrap_or_default() {
        cluster.load_image(archive).await?;
    }
    let (kubectl, helm) = (cluster.kubectl(), cluster.helm());
    step("Freshet by Helm", async |step| {
        chart::install(&kubectl, &helm, &images, step).await
    })
    .await?;
    Ok((cluster, images))
}

/// Builds a program of the workspace, as images have it, and returns the file.
///
/// # Errors
/// When it does not build.
pub async fn program(name: &str) -> anyhow::Result<PathBuf> {
    let built = cargo::build(&[name]).await?;
    built.into_iter().next().context("cargo built nothing")
}

/// The root of the checkout that this program was built from.
fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}
