//! Where the repository and its cache are.

use std::path::PathBuf;

/// The root of the repository this program was built from.
pub(crate) fn repository_root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map_or_else(|| manifest.clone(), PathBuf::from)
}
