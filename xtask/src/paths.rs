//! Where the repository is.

use std::path::PathBuf;

/// The root of the repository whose `cargo run` started this program.
///
/// Said at run time: two checkouts that share a folder for build output share this program, too, and what it was
/// built from may be gone.
pub(crate) fn repository_root() -> PathBuf {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map_or_else(|| manifest.clone(), PathBuf::from)
}
