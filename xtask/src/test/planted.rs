//! What the history checker is worth: mistakes on purpose that it has to find, and a broker that ends between any two steps.
//!
//! Part of `make soak`. The programs are built with the feature `planted-faults`, into a folder of their own beside those of
//! the product: they make mistakes, end at places that have names, and lose with the process what they have not flushed.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};

use super::{
    durability::checker,
    parts::{Part, Step, cargo},
};
use crate::paths;

/// What the programs are built with.
const FEATURES: &str = "freshet/planted-faults,freshet-proxy/planted-faults,freshet-storage-node/planted-faults";
/// By name of the program, not of the package: what they share with the rest of the workspace has the same features then.
const PROGRAMS: [&str; 3] = ["freshet", "freshet-proxy", "freshet-storage-node"];
/// All dependencies are compiled once more.
const BUILD: Duration = Duration::from_secs(60 * 60);
/// Seven mistakes from three seeds, some rounds each, and the same without.
const MISTAKES: Duration = Duration::from_secs(90 * 60);
/// Some thirty places, each tried some times.
const TOUR: Duration = Duration::from_secs(20 * 60);

/// Builds the programs, hunts for the mistakes, and walks through all fault points.
///
/// # Errors
/// When nobody knows where this program is.
pub(crate) fn part(first_seed: u64) -> Result<Part> {
    let target = target_folder()?;
    let build = cargo(&["build", "--release", "--locked", "--features", FEATURES])
        .args(PROGRAMS.into_iter().flat_map(|name| ["--bin", name]))
        .args(["--target-dir".into(), target.clone().into_os_string()]);
    let programs = target.join("release");
    let into_page = |command: &str, page: &str| {
        checker(command, first_seed)
            .args(["--programs".into(), programs.clone().into_os_string()])
            .args(["--report".into(), results_folder().join(page).into_os_string()])
    };
    let tours = [
        ("standalone", "fault-points-standalone.md"),
        ("apart", "fault-points-apart.md"),
    ];
    let tours = tours.map(|(processes, page)| {
        let tour = into_page("run", page).args(["--kills", "20", "--fault-points", "all", "--processes", processes]);
        Step::new(tour, TOUR)
    });
    let mut steps = vec![
        Step::new(build, BUILD),
        Step::new(into_page("mistakes", "mistakes.md"), MISTAKES),
    ];
    steps.extend(tours);
    Ok(Part {
        name: "planted",
        what: "mistakes on purpose that the history checker has to find, and an end between any two steps",
        steps,
        cleanup: Vec::new(),
        beside_next: false,
    })
}

/// Where results are kept.
pub(super) fn results_folder() -> PathBuf {
    paths::repository_root().join("checker/results")
}

/// A folder beside the programs of the product.
fn target_folder() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program")?;
    let target = own.parent().and_then(|profile| profile.parent());
    Ok(target.context("this program is in no folder of cargo")?.join("planted"))
}
