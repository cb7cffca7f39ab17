//! `xtask mutants`: changes the cores in ways that a test should notice, one at a time, and lists what none notices.
//!
//! `make soak` runs it. There are thousands of mutants, far more than there is time to compile one by one. So all of them are
//! compiled at once into a copy of the sources ([`sources`], [`instrument`]), and one is switched on for each run of the tests
//! that reach it ([`reach`], [`trial`]). What the compiler itself runs is left to cargo-mutants ([`one_by_one`]), which also
//! says which mutants there are ([`list`]).
//!
//! A mutant is to be noticed by the tests of its own package, or by the simulation. One that survives gets a test, or a line
//! with the reason in `xtask/mutants.txt` ([`explained`]); any other one fails the run.

mod child;
mod compile;
mod explained;
mod instrument;
mod list;
mod one_by_one;
mod places;
mod reach;
mod sources;
mod trial;

use std::{collections::BTreeSet, fs, path::Path, process::ExitCode, time::Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use freshet_e2e::node::binaries::cache_folder;

use crate::{paths, steps::Interrupt, tools};
use compile::Compiled;
use explained::{Explained, NOT_REACHED};
use list::Mutant;
use one_by_one::Ran;
use reach::Reach;
use sources::Sources;
use trial::Verdict;

/// The cores with their folders, the small ones first.
const CORES: [(&str, &str); 6] = [
    ("freshet-storage-contract", "storage-api/core"),
    ("freshet-mqtt", "mqtt"),
    ("freshet-scaling", "operator/scaling"),
    ("freshet-operator-core", "operator/core"),
    ("freshet-storage-core", "storage-node/core"),
    ("freshet-proxy-core", "proxy/core"),
];
/// The package whose tests run the cores of proxies and storage together.
const SIMULATION: &str = "freshet-simulation";

/// Arguments of `xtask mutants`.
#[derive(Debug, Args)]
pub(crate) struct MutantsArgs {
    /// Only these cores, by the names of their packages.
    #[arg(long, value_parser = CORES.map(|(name, _)| name))]
    core: Vec<String>,
    /// Only by the tests of their own packages, and not by the simulation.
    #[arg(long)]
    own_tests: bool,
    /// Says how many mutants there are, and runs none.
    #[arg(long)]
    list: bool,
}

/// A core and its mutants, which are numbered over all cores.
struct Core {
    name: &'static str,
    folder: &'static str,
    mutants: Vec<Mutant>,
    /// The number of the first one. None has the number 0.
    first: u32,
}

impl Core {
    fn numbered(&self) -> impl Iterator<Item = (u32, &Mutant)> {
        (self.first..).zip(&self.mutants)
    }

    fn mutant(&self, number: u32) -> Option<&Mutant> {
        let at = number.checked_sub(self.first)?;
        self.mutants.get(usize::try_from(at).ok()?)
    }
}

/// What became of all mutants.
#[derive(Debug, Default)]
struct Totals {
    noticed: usize,
    unviable: usize,
    with_reason: usize,
    without: usize,
}

/// Runs the mutants of the cores, and says which of them no test notices.
///
/// # Errors
/// When the tool cannot be installed, the tests of a core fail without any mutant, or `xtask/mutants.txt` explains
/// what there is not.
pub(crate) async fn mutants(args: &MutantsArgs) -> Result<ExitCode> {
    let mut interrupt = Interrupt::listen()?;
    let program = tools::ensure(tools::MUTANTS, &mut interrupt).await?;
    let explained = Explained::read(&paths::repository_root().join("xtask/mutants.txt"))?;
    let cores = list_cores(&program, args, &explained, &mut interrupt).await?;
    if args.list {
        return Ok(ExitCode::SUCCESS);
    }
    let folder = cache_folder()?.join("mutants");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut sources = Sources::write(&cores, folder.join("checkout"), &mut interrupt).await?;
    let started = Instant::now();
    let others: &[&str] = if args.own_tests { &[] } else { &[SIMULATION] };
    let packages: Vec<&str> = cores
        .iter()
        .map(|core| core.name)
        .chain(others.iter().copied())
        .collect();
    let compiled = compile::compile(&packages, &mut sources, &folder.join("target"), &mut interrupt).await?;
    println!("compiled all mutants at once in {} s", started.elapsed().as_secs());
    let reach = Reach::learn(&compiled.programs, &folder, &mut interrupt).await?;
    let run = Run {
        program: &program,
        folder: &folder,
        sources: &sources,
        compiled: &compiled,
        reach: &reach,
        explained: &explained,
        own_tests: args.own_tests,
    };
    let mut totals = Totals::default();
    let mut alone = Vec::new();
    for core in &cores {
        alone.push(run.switched(core, &mut totals, &mut interrupt).await?);
    }
    for (core, mutants) in cores.iter().zip(&alone) {
        run.alone(core, mutants, &mut totals, &mut interrupt).await?;
    }
    ensure!(totals.noticed + totals.without > 0, "there is no mutant");
    // Read by `xtask soak` and by whoever counts.
    let verdict = if totals.without == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {verdict}. {} passed; {} failed; {} ignored;",
        totals.noticed,
        totals.without,
        totals.with_reason + totals.unviable
    );
    Ok(if totals.without == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Lists the mutants of all cores, and returns the chosen cores with theirs.
async fn list_cores(
    program: &Path,
    args: &MutantsArgs,
    explained: &Explained,
    interrupt: &mut Interrupt,
) -> Result<Vec<Core>> {
    let mut cores = Vec::new();
    let mut known = BTreeSet::new();
    let mut first = 1;
    for (name, folder) in CORES {
        let mutants = list::of(program, name, interrupt).await?;
        println!("{name}: {} mutants", mutants.len());
        known.extend(mutants.iter().map(Mutant::without_position));
        if args.core.is_empty() || args.core.iter().any(|chosen| chosen == name) {
            let count = u32::try_from(mutants.len())?;
            cores.push(Core {
                name,
                folder,
                mutants,
                first,
            });
            first += count;
        }
    }
    explained.require_known(&known)?;
    Ok(cores)
}

/// What a run has to do with.
struct Run<'a> {
    program: &'a Path,
    folder: &'a Path,
    sources: &'a Sources,
    compiled: &'a Compiled,
    reach: &'a Reach,
    explained: &'a Explained,
    own_tests: bool,
}

impl Run<'_> {
    /// Tries the mutants of a core that can be switched on, says what became of them, and returns the others.
    async fn switched<'c>(
        &self,
        core: &'c Core,
        totals: &mut Totals,
        interrupt: &mut Interrupt,
    ) -> Result<Vec<&'c Mutant>> {
        let started = Instant::now();
        let mut ran = Ran::default();
        let mut alone: Vec<&Mutant> = Vec::new();
        let mut switched = Vec::new();
        for (number, mutant) in core.numbered() {
            if self.compiled.unviable.contains(&number) || self.sources.unviable.contains(&number) {
                ran.unviable += 1;
            } else if self.sources.alone.contains(&number) || self.compiled.not_switched.contains(&number) {
                alone.push(mutant);
            } else {
                switched.push(number);
            }
        }
        let tried = switched.len();
        let unnoticed = self.tried(core, switched, interrupt).await?;
        ran.noticed += tried - unnoticed.len();
        for (number, verdict) in unnoticed {
            let Some(mutant) = core.mutant(number) else { continue };
            match self.survivor(mutant, number, verdict) {
                Some(name) => ran.survived.push(name),
                None => alone.push(mutant),
            }
        }
        totals.add(core, &ran, self.explained, started);
        Ok(alone)
    }

    /// Tries mutants by the tests of their core, and those that are left by the simulation; returns what is left then.
    async fn tried(&self, core: &Core, numbers: Vec<u32>, interrupt: &mut Interrupt) -> Result<Vec<(u32, Verdict)>> {
        let packages: &[&str] = if self.own_tests {
            &[core.name]
        } else {
            &[core.name, SIMULATION]
        };
        let mut left: Vec<(u32, Verdict)> = numbers
            .into_iter()
            .map(|number| (number, Verdict::NotReached))
            .collect();
        for (at, package) in (1..).zip(packages) {
            let started = Instant::now();
            let tried = left.len();
            let again = |(number, former): (u32, Verdict)| {
                let tests = self.reach.of(number, package);
                async move { Ok((number, former.and(trial::try_mutant(number, tests).await?))) }
            };
            let seen = |(number, verdict): &(u32, Verdict)| {
                if at == packages.len()
                    && *verdict != Verdict::Noticed
                    && let Some(mutant) = core.mutant(*number)
                    && let Some(name) = self.survivor(mutant, *number, *verdict)
                    && !self.explained.has(&name)
                {
                    println!("    {name}");
                }
            };
            left = tokio::select! {
                verdicts = child::side_by_side(left, again, seen) => verdicts?,
                () = interrupt.wait() => anyhow::bail!("interrupted"),
            };
            left.retain(|(_, verdict)| *verdict != Verdict::Noticed);
            println!(
                "{}: {} of {tried} pass the tests of {package}; {} s",
                core.name,
                left.len(),
                started.elapsed().as_secs()
            );
        }
        Ok(left)
    }

    /// What a mutant that was not noticed is called, unless it has to be compiled by itself.
    fn survivor(&self, mutant: &Mutant, number: u32, verdict: Verdict) -> Option<String> {
        match verdict {
            Verdict::NotReached if self.sources.in_const_fn.contains(&number) => None,
            Verdict::NotReached => Some(format!("{}{NOT_REACHED}", mutant.name)),
            Verdict::Noticed | Verdict::Survived => Some(mutant.name.clone()),
        }
    }

    /// Tries those mutants of a core that are compiled by themselves.
    async fn alone(
        &self,
        core: &Core,
        mutants: &[&Mutant],
        totals: &mut Totals,
        interrupt: &mut Interrupt,
    ) -> Result<()> {
        if mutants.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let ran = one_by_one::run_each(self.program, core.name, mutants, self.folder, interrupt).await?;
        totals.add(core, &ran, self.explained, started);
        Ok(())
    }
}

impl Totals {
    /// Adds what became of mutants, and says it.
    fn add(&mut self, core: &Core, ran: &Ran, explained: &Explained, started: Instant) {
        let (known, new): (Vec<_>, Vec<_>) = ran.survived.iter().partition(|name| explained.has(name));
        for name in &new {
            println!("test {name} ... FAILED");
        }
        println!(
            "{}: {} noticed, {} survived, {} of them with a reason, {} do not compile; {} s",
            core.name,
            ran.noticed,
            ran.survived.len(),
            known.len(),
            ran.unviable,
            started.elapsed().as_secs()
        );
        self.noticed += ran.noticed;
        self.unviable += ran.unviable;
        self.with_reason += known.len();
        self.without += new.len();
    }
}
