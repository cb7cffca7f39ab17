//! Which tests run which mutants' places, and how long each test takes, learned from one run of each test by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{
    child::{self, Ended, side_by_side},
    compile::TestProgram,
};
use crate::steps::{Interrupt, Invocation, output_of};

/// How long a program may take to say which tests it has.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
/// Of a processor, for one test without mutant.
const TEST_TIME: Duration = Duration::from_secs(10 * 60);
/// Sequences of the simulation that are run with a mutant in each of its two worlds: the same ones each time.
const SEQUENCES: &str = "1500";

/// One test.
#[derive(Debug, Clone)]
pub(super) struct Test {
    pub(super) program: Arc<TestProgram>,
    pub(super) name: String,
    /// Of a processor.
    pub(super) took: Duration,
    /// Whether it panics on the way when all is well.
    pub(super) panics: bool,
    reached: BTreeSet<u32>,
}

/// Tests by the mutants that they reach, the quick ones first.
#[derive(Default)]
pub(super) struct Reach(BTreeMap<u32, Vec<Arc<Test>>>);

/// What a test program is told besides its tests.
pub(super) fn environment() -> (&'static str, String) {
    ("FRESHET_SIMULATION_SEQUENCES", SEQUENCES.to_owned())
}

impl Reach {
    /// Runs each test once.
    ///
    /// # Errors
    /// When one fails without any mutant.
    pub(super) async fn learn(programs: &[TestProgram], folder: &Path, interrupt: &mut Interrupt) -> Result<Self> {
        let mut names = Vec::new();
        for program in programs {
            let program = Arc::new(program.clone());
            let list = Invocation::new(&program.path)
                .args(["--list", "--format", "terse"])
                .dir(&program.folder);
            let text = output_of(&list, LIST_TIMEOUT, interrupt).await?;
            for line in text.lines() {
                if let Some(name) = line.strip_suffix(": test") {
                    names.push((names.len(), Arc::clone(&program), name.to_owned()));
                }
            }
        }
        let folder = Arc::new(folder.to_owned());
        let learn = |(number, program, name)| {
            let path = folder.join(format!("reached-{number}"));
            learn_one(program, name, path)
        };
        let tests = side_by_side(names, learn, |_| ());
        let mut tests = tests.await?;
        tests.sort_by_key(|test| test.took);
        let mut reach = Self::default();
        for test in tests.into_iter().map(Arc::new) {
            for number in &test.reached {
                reach.0.entry(*number).or_default().push(Arc::clone(&test));
            }
        }
        Ok(reach)
    }

    /// The tests of a package that reach a mutant, the quick ones first.
    pub(super) fn of(&self, number: u32, package: &str) -> Vec<Arc<Test>> {
        let all = self.0.get(&number).into_iter().flatten();
        all.filter(|test| test.program.package == package).cloned().collect()
    }
}

async fn learn_one(program: Arc<TestProgram>, name: String, path: std::path::PathBuf) -> Result<Test> {
    let env = [environment(), ("FRESHET_MUTANT_REACHED", path.display().to_string())];
    let args = ["--exact", &name, "--test-threads=1"];
    let ended = child::run(&program.path, &args, &env, &program.folder, TEST_TIME).await?;
    ensure!(
        ended == Ended::Passed,
        "{} {name} fails without any mutant",
        program.path.display()
    );
    // One that reaches nothing writes nothing.
    let text = fs::read_to_string(&path).unwrap_or_default();
    if path.exists() {
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    }
    let micros = text
        .lines()
        .filter_map(|line| line.strip_prefix("micros ")?.parse().ok());
    Ok(Test {
        program,
        name,
        took: Duration::from_micros(micros.max().unwrap_or_default()),
        panics: text.lines().any(|line| line == "panicked"),
        reached: text.lines().filter_map(|line| line.parse().ok()).collect(),
    })
}
