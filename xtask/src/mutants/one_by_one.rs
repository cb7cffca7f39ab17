//! cargo-mutants itself, which compiles each mutant by itself: for those that cannot be switched on at run time, because
//! the compiler runs what they change.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::list::Mutant;
use crate::{
    paths,
    steps::{Ending, Interrupt, Invocation, run},
};

/// What is in the cores for tests alone: the planted mistakes of the simulation, and tables and payloads of tests.
const FOR_TESTS: [&str; 5] = [
    "mqtt/src/malformed.rs",
    "mqtt/src/malformed/**",
    "mqtt/src/sparkplug.rs",
    "proxy/core/src/planted.rs",
    "storage-node/core/src/planted.rs",
];
/// Compiling a core and what it needs, before any mutant.
const BUILD_ALLOWANCE: Duration = Duration::from_secs(10 * 60);
/// What one mutant may take.
const MUTANT_ALLOWANCE: Duration = Duration::from_secs(5 * 60);
/// A test that takes longer than this, and than five times its usual time, does not end: the mutant was noticed.
const TEST_SECONDS: &str = "60";

/// What became of mutants, by their names with line and column.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ran {
    pub(super) noticed: usize,
    /// Do not compile.
    pub(super) unviable: usize,
    pub(super) survived: Vec<String>,
}

/// cargo-mutants about one core.
pub(super) fn of_core(program: &Path, core: &str) -> Invocation {
    Invocation::new(program)
        .args(["mutants", "--no-config", "--package", core])
        .args(FOR_TESTS.iter().flat_map(|file| ["--exclude", *file]))
        .dir(paths::repository_root())
}

/// Runs mutants of a core, each compiled by itself.
///
/// # Errors
/// When the tests fail without any mutant, or not all of the mutants were run.
pub(super) async fn run_each(
    program: &Path,
    core: &str,
    mutants: &[&Mutant],
    folder: &Path,
    interrupt: &mut Interrupt,
) -> Result<Ran> {
    let folder = Folder::make(folder.join("one-by-one"))?;
    let output = folder.0.join("reports");
    let mut invocation = of_core(program, core)
        .args([
            "--minimum-test-timeout",
            TEST_SECONDS,
            "--annotations",
            "none",
            "--no-times",
        ])
        .args(["--output".as_ref(), output.as_os_str()])
        .env("TMPDIR", folder.0.join("copy"))
        .env("CARGO_TARGET_DIR", folder.0.join("target"))
        // That a test fails is enough: nobody reads the smallest case, which takes most of the time of such a mutant.
        .env("PROPTEST_MAX_SHRINK_ITERS", "0")
        .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true")
        // Nobody looks into these programs.
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env("CARGO_PROFILE_TEST_DEBUG", "false");
    for mutant in mutants {
        invocation = invocation.args(["--re".to_owned(), format!("^{}$", literally(&mutant.name))]);
    }
    // `--re` leaves mutants of fields as they are: all of a core would run again, but for those of other files.
    let files: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.file.as_str()).collect();
    for file in files {
        invocation = invocation.args(["--file", file]);
    }
    // Examples and documentation show nothing that the tests do not, and would be linked anew for each mutant. Arguments
    // behind `--` would say so to the run of the tests alone, and not to the build before it.
    invocation = invocation.args(["--cargo-arg=--lib", "--cargo-arg=--tests"]);
    let time = BUILD_ALLOWANCE + MUTANT_ALLOWANCE.saturating_mul(u32::try_from(mutants.len())?);
    let outcome = run(&invocation, time, interrupt).await?;
    let reports = output.join("mutants.out");
    let names: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.name.as_str()).collect();
    let ran = Ran::read(&reports, &names).with_context(|| format!("`{invocation}`: {}", outcome.ending))?;
    let is_over = match outcome.ending {
        Ending::Passed => true,
        // Mutants that survive, and tests that do not end.
        Ending::Failed(status) => matches!(status.code(), Some(2 | 3)),
        Ending::TimedOut(_) | Ending::Interrupted => false,
    };
    ensure!(is_over, "`{invocation}`: {}", outcome.ending);
    Ok(ran)
}

/// A regular expression for this text alone.
fn literally(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        // An escaped angle is the edge of a word.
        if character.is_ascii_punctuation() && !matches!(character, '<' | '>') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

impl Ran {
    /// Reads what cargo-mutants has written until its end of the mutants with these names.
    fn read(reports: &Path, names: &BTreeSet<&str>) -> Result<Self> {
        let lines = |file: &str| -> Result<Vec<String>> {
            let path = reports.join(file);
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            let asked_for = text.lines().filter(|line| names.contains(line));
            Ok(asked_for.map(str::to_owned).collect())
        };
        Ok(Self {
            noticed: lines("caught.txt")?.len() + lines("timeout.txt")?.len(),
            unviable: lines("unviable.txt")?.len(),
            survived: lines("missed.txt")?,
        })
    }
}

/// The folder of a run, which goes with its value.
struct Folder(PathBuf);

impl Folder {
    fn make(path: PathBuf) -> Result<Self> {
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        fs::create_dir_all(path.join("copy")).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_do_not_end_have_noticed_the_mutant() {
        let folder = std::env::temp_dir().join(format!("freshet-xtask-mutants-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        for (file, text) in [
            ("caught.txt", "a.rs:1:2: x\na.rs:3:4: y\n"),
            ("timeout.txt", "a.rs:5:6: z\n"),
            ("unviable.txt", ""),
            ("missed.txt", "b.rs:7:8: w\nb.rs:9:8: delete field v\n"),
        ] {
            fs::write(folder.join(file), text).unwrap();
        }
        let names = ["a.rs:1:2: x", "a.rs:3:4: y", "a.rs:5:6: z", "b.rs:7:8: w"];
        let ran = Ran::read(&folder, &names.into());
        fs::remove_dir_all(&folder).unwrap();
        let expected = Ran {
            noticed: 3,
            unviable: 0,
            survived: vec!["b.rs:7:8: w".to_owned()],
        };
        assert_eq!(ran.unwrap(), expected);
    }

    #[test]
    fn a_name_is_no_pattern() {
        assert_eq!(literally("a.rs: replace + with <"), "a\\.rs\\: replace \\+ with <");
    }
}
