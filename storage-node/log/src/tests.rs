//! Tests of the whole crate: power cuts at every moment, and planted mistakes that they have to find.

mod log_cuts;
mod log_damage;
mod log_threads;
mod lookup;
mod row_cuts;
mod rows;

use std::{
    env, fs,
    ops::Range,
    path::{Path, PathBuf},
    process,
};

/// Which lives a test runs: `FRESHET_SEED` is one, `FRESHET_SEEDS` is how many from 0 on.
fn seeds(usual: u64) -> Range<u64> {
    let number = |name| env::var(name).ok().and_then(|number| number.parse().ok());
    match number("FRESHET_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FRESHET_SEEDS").unwrap_or(usual),
    }
}

/// A directory of its own for one test, gone afterwards.
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("freshet-storage-log-{}-{name}", process::id()));
        let _ = fs::remove_dir_all(&path); // of a run with the same process id
        fs::create_dir_all(&path).unwrap();
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
