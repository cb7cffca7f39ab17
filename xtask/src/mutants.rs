//! `xtask mutants`: changes the cores in ways that a test should notice, one at a time, and lists what none notices.
//!
//! `make soak` runs it. There are far more mutants than any run has time for: each draws other ones, in every core as many as
//! its share of the time allows. A mutant that survives gets a test, or a line with the reason in `xtask/mutants.txt`
//! ([`explained`]); any other one fails the run.

mod explained;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use freshet_e2e::node::binaries::cache_folder;

use crate::{
    paths,
    steps::{Ending, Interrupt, Invocation, output_of, run},
    tools,
};
use explained::Explained;

/// The cores, the small ones first.
const CORES: [&str; 6] = [
    "freshet-storage-contract",
    "freshet-mqtt",
    "freshet-scaling",
    "freshet-operator-core",
    "freshet-storage-core",
    "freshet-proxy-core",
];
/// What is in the cores for tests alone: the planted mistakes of the simulation, and tables and payloads of tests.
const FOR_TESTS: [&str; 5] = [
    "mqtt/src/malformed.rs",
    "mqtt/src/malformed/**",
    "mqtt/src/sparkplug.rs",
    "proxy/core/src/planted.rs",
    "storage-node/core/src/planted.rs",
];
/// How long it takes to say which mutants there are.
const LIST_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// Compiling a core and what it needs, which is no time of mutants.
const BUILD_ALLOWANCE: Duration = Duration::from_secs(5 * 60);
/// A test that takes longer than this, and than five times its usual time, does not end: the mutant was noticed.
const TEST_SECONDS: &str = "60";

/// Arguments of `xtask mutants`.
#[derive(Debug, Args)]
pub(crate) struct MutantsArgs {
    /// Only these cores, by the names of their packages.
    #[arg(long, value_parser = CORES)]
    core: Vec<String>,
    /// Minutes for all of them together.
    #[arg(long, env = "FRESHET_MUTANTS_MINUTES", default_value_t = 30)]
    minutes: u64,
    /// Only this part of each core, as `2/8`: the same mutants each time.
    #[arg(long)]
    shard: Option<String>,
    /// Says how many mutants there are, and runs none.
    #[arg(long)]
    list: bool,
}

/// What became of the mutants of a core, by their names with line and column.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ran {
    noticed: usize,
    /// Do not compile.
    unviable: usize,
    survived: Vec<String>,
}

/// Runs mutants of the cores, and says which of them no test notices.
///
/// # Errors
/// When the tool cannot be installed, the tests of a core fail without any mutant, or `xtask/mutants.txt` explains
/// what there is not.
pub(crate) async fn mutants(args: &MutantsArgs) -> Result<ExitCode> {
    let mut interrupt = Interrupt::listen()?;
    let program = tools::ensure(tools::MUTANTS, &mut interrupt).await?;
    let explained = Explained::read(&paths::repository_root().join("xtask/mutants.txt"))?;
    let mut cores = Vec::new();
    let mut known = BTreeSet::new();
    for core in CORES {
        let list = of_core(&program, core).args(["--list", "--line-col=false"]);
        let names = output_of(&list, LIST_TIMEOUT, &mut interrupt).await?;
        let count = names.lines().count();
        known.extend(names.lines().map(str::to_owned));
        println!("{core}: {count} mutants");
        if args.core.is_empty() || args.core.iter().any(|chosen| chosen == core) {
            cores.push((core, count));
        }
    }
    explained.require_known(&known)?;
    if args.list {
        return Ok(ExitCode::SUCCESS);
    }
    let folder = Folder::make()?;
    let all: usize = cores.iter().map(|(_, count)| count).sum();
    let (mut noticed, mut unviable, mut with_reason, mut without) = (0, 0, 0, 0);
    for (core, count) in cores {
        let share = f64::from(u32::try_from(count)?) / f64::from(u32::try_from(all)?);
        let time = Duration::from_secs(args.minutes.saturating_mul(60)).mul_f64(share);
        let ran = run_core(&program, core, args.shard.as_deref(), time, &folder.0, &mut interrupt).await?;
        let (known, new): (Vec<_>, Vec<_>) = ran.survived.iter().partition(|name| explained.has(name));
        for name in &new {
            println!("test {name} ... FAILED");
        }
        println!(
            "{core}: {} noticed, {} survived, {} of them with a reason, {} do not compile",
            ran.noticed,
            ran.survived.len(),
            known.len(),
            ran.unviable
        );
        noticed += ran.noticed;
        unviable += ran.unviable;
        with_reason += known.len();
        without += new.len();
        if interrupt.has_arrived() {
            break;
        }
    }
    ensure!(noticed + without > 0, "there was no time for any mutant");
    // Read by `xtask soak` and by whoever counts.
    let verdict = if without == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {verdict}. {noticed} passed; {without} failed; {} ignored;",
        with_reason + unviable
    );
    Ok(if without == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn of_core(program: &Path, core: &str) -> Invocation {
    Invocation::new(program)
        .args(["mutants", "--no-config", "--package", core])
        .args(FOR_TESTS.iter().flat_map(|file| ["--exclude", *file]))
        .dir(paths::repository_root())
}

/// Runs mutants of a core until all have been run or the time is over.
async fn run_core(
    program: &Path,
    core: &str,
    shard: Option<&str>,
    time: Duration,
    folder: &Path,
    interrupt: &mut Interrupt,
) -> Result<Ran> {
    let output = folder.join(core);
    let mut invocation = of_core(program, core)
        .args([
            "--minimum-test-timeout",
            TEST_SECONDS,
            "--annotations",
            "none",
            "--no-times",
        ])
        .args(["--output".as_ref(), output.as_os_str()])
        // Its copy of the checkout, and what it compiles there, go with the folder.
        .env("TMPDIR", folder.join("copy"))
        .env("CARGO_TARGET_DIR", folder.join("target"))
        // That a test fails is enough: nobody reads the smallest case, which takes most of the time of such a mutant.
        .env("PROPTEST_MAX_SHRINK_ITERS", "0")
        .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true")
        // Nobody looks into these programs.
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env("CARGO_PROFILE_TEST_DEBUG", "false");
    invocation = match shard {
        Some(shard) => invocation.args(["--no-shuffle", "--shard", shard]),
        None => invocation.args(["--shuffle"]),
    };
    // Examples and documentation show nothing that the tests do not, and would be linked anew for each mutant. Arguments
    // behind `--` would say so to the run of the tests alone, and not to the build before it.
    invocation = invocation.args(["--cargo-arg=--lib", "--cargo-arg=--tests"]);
    let outcome = run(&invocation, BUILD_ALLOWANCE + time, interrupt).await?;
    let reports = output.join("mutants.out");
    let ran = Ran::read(&reports).with_context(|| format!("`{invocation}`: {}", outcome.ending))?;
    let is_over = match outcome.ending {
        Ending::Passed | Ending::TimedOut(_) | Ending::Interrupted => true,
        // Mutants that survive, and tests that do not end.
        Ending::Failed(status) => matches!(status.code(), Some(2 | 3)),
    };
    ensure!(is_over, "`{invocation}`: {}; see {}", outcome.ending, reports.display());
    Ok(ran)
}

impl Ran {
    /// Reads what cargo-mutants has written until its end.
    fn read(reports: &Path) -> Result<Self> {
        let lines = |file: &str| -> Result<Vec<String>> {
            let path = reports.join(file);
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            Ok(text.lines().map(str::to_owned).collect())
        };
        Ok(Self {
            noticed: lines("caught.txt")?.len() + lines("timeout.txt")?.len(),
            unviable: lines("unviable.txt")?.len(),
            survived: lines("missed.txt")?,
        })
    }
}

/// The folder of a run; all but the reports goes with its value, which an error may refer to.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self> {
        let path = cache_folder()?.join("mutants");
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        fs::create_dir_all(path.join("copy")).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for part in ["copy", "target"] {
            let _ = fs::remove_dir_all(self.0.join(part));
        }
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
            ("missed.txt", "b.rs:7:8: w\n"),
        ] {
            fs::write(folder.join(file), text).unwrap();
        }
        let ran = Ran::read(&folder);
        fs::remove_dir_all(&folder).unwrap();
        let expected = Ran {
            noticed: 3,
            unviable: 0,
            survived: vec!["b.rs:7:8: w".to_owned()],
        };
        assert_eq!(ran.unwrap(), expected);
    }
}
