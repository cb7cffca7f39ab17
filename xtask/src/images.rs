//! `xtask images`: builds the product's images, and says what they are.

use std::process::ExitCode;

use anyhow::Result;
use freshet_e2e::node::packages;
use freshet_e2e::product::images;
use freshet_e2e::progress::step;

/// Builds them, and prints name, digest, size and file of each.
pub(crate) async fn images() -> Result<ExitCode> {
    let groups = [packages::Group::Images];
    step("Debian packages", async |step| packages::ensure(&groups, step).await).await?;
    let images = step("Freshet's images", images::build).await?;
    for archive in images.archives().unwrap_or_default() {
        let size_megabytes = archive.size_bytes as f64 / 1e6;
        let (name, path) = (archive.pinned_name(), archive.path.display());
        println!("{name}\t{}\t{size_megabytes:.1} MB\t{path}", archive.digest);
    }
    Ok(ExitCode::SUCCESS)
}
