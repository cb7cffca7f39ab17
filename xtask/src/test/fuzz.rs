//! The fuzz targets, each for a while, on the pinned stable toolchain.
//!
//! New inputs are gathered in the project's cache, where the next run starts from them; the corpus in the repository is
//! read and never written. An input that breaks a target is kept in `fuzz/artifacts` and named in the output.

use std::time::Duration;

use anyhow::{Context, Result};
use freshet_e2e::node::binaries::cache_folder;

use super::{
    parts::{Counts, Step},
    targets,
};
use crate::{
    paths,
    steps::{Interrupt, Invocation},
    tools,
};

const FOLDER: &str = "fuzz";
/// Building, and reading the corpus, which do not count as time of fuzzing.
const BUILD_ALLOWANCE: Duration = Duration::from_secs(15 * 60);

/// One step for each target.
///
/// # Errors
/// When cargo cannot read the crate of the targets.
pub(crate) async fn fuzz_steps(seconds: u64, interrupt: &mut Interrupt) -> Result<Vec<Step>> {
    let root = paths::repository_root();
    let folder = root.join(FOLDER);
    let cache = cache_folder()?;
    let targets = targets::fuzz_targets(&folder.join("Cargo.toml"), interrupt).await?;
    anyhow::ensure!(!targets.is_empty(), "{FOLDER} has no targets");
    let program = tools::ensure(tools::FUZZ, interrupt).await?;
    let mut steps = Vec::new();
    for target in targets {
        let found = cache.join("fuzz-corpus").join(&target);
        std::fs::create_dir_all(&found).with_context(|| format!("making {}", found.display()))?;
        let invocation = Invocation::new(&program)
            // Sanitizers need a nightly compiler. What they would find cannot be written without `unsafe`.
            .args(["run", "--sanitizer", "none", "--fuzz-dir"])
            .args([&folder])
            .args(["--target-dir".into(), cache.join("fuzz-target")])
            .args([&target])
            .args([found, folder.join("corpus").join(&target)])
            .args([
                "--".into(),
                format!("-max_total_time={seconds}"),
                "-rss_limit_mb=1024".into(),
            ])
            .args(["-timeout=10", "-print_final_stats=1", "-verbosity=0"])
            .dir(&folder);
        steps.push(Step {
            invocation,
            timeout: BUILD_ALLOWANCE + Duration::from_secs(seconds),
            counts: Counts::AsOneTest,
        });
    }
    Ok(steps)
}
