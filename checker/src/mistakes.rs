//! Mistakes that programs of tests make when they are asked to, and the hunt for each: the judge has to refute them, by the
//! promise that they break, within a bounded number of kills; and to prove the same broker without a mistake.
//!
//! The programs are built with the feature `planted-faults`. Their disk forgets, with the process, what was not flushed:
//! to kill them is to cut the power. Leaves out what a mistake is: a line in the program, at its place.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::broker::{Folders, Setup};
use crate::crowd::Outcome;
use crate::judge::{Rule, Thresholds};
use crate::nemesis::Nemesis;
use crate::run::{Plan, run};

/// How long clients live in a round at least, in seconds.
const SECONDS: usize = 8;
/// Kills of a round.
const KILLS: usize = 6;
/// Rounds after which a mistake counts as one that is not found.
const MOST_ROUNDS: u64 = 6;
/// How long what is missing at the end may take to come, with a mistake and without.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between the seeds of the rounds of a hunt.
const STRIDE: u64 = 1 << 32;

/// A mistake, and how it shows.
#[derive(Debug, Clone, Copy)]
pub struct Mistake {
    /// As programs are asked for it.
    pub name: &'static str,
    /// What is done wrong, for people.
    pub what: &'static str,
    /// Where it is made.
    pub processes: Processes,
    /// The promises of which it breaks one.
    pub breaks: &'static [Rule],
}

/// The processes of the broker, and which of them are killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Processes {
    /// One, which is killed.
    Standalone,
    /// A proxy and a storage node, which is killed alone: the proxy goes on believing what it was told.
    StorageApart,
}

/// All mistakes.
pub const MISTAKES: [Mistake; 7] = [
    Mistake {
        name: "storage:AcknowledgedUnflushed",
        what: "PUBACK and PUBREC leave before the message is flushed",
        processes: Processes::StorageApart,
        breaks: &[Rule::NoLoss],
    },
    Mistake {
        name: "log:ReportedBeforeFlush",
        what: "the log says of records that they are durable when it has taken them",
        processes: Processes::Standalone,
        breaks: &[Rule::NoLoss, Rule::ExactlyOnce],
    },
    Mistake {
        name: "proxy:PublishBeforeSending",
        what: "PUBLISH of QoS 2 leaves before storage is told its packet id",
        processes: Processes::Standalone,
        breaks: &[Rule::ExactlyOnce],
    },
    Mistake {
        name: "storage:UpdateConfirmedUnflushed",
        what: "PUBLISH of QoS 2 leaves before its packet id is flushed",
        processes: Processes::StorageApart,
        breaks: &[Rule::ExactlyOnce],
    },
    Mistake {
        name: "storage:ReleaseConfirmedUnflushed",
        what: "PUBCOMP leaves before the release is flushed",
        processes: Processes::StorageApart,
        breaks: &[Rule::NoLoss],
    },
    Mistake {
        name: "storage:CursorNotWritten",
        what: "what a session has done with is not written down",
        processes: Processes::Standalone,
        breaks: &[Rule::ExactlyOnce],
    },
    Mistake {
        name: "storage:ClockJumpsAtStart",
        what: "the clock of the log is an hour ahead after a start",
        processes: Processes::StorageApart,
        // Sessions end before their time, and packet ids are forgotten.
        breaks: &[Rule::SessionPresent, Rule::NoLoss, Rule::ExactlyOnce],
    },
];

/// Where the programs of tests are, and where they write.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The folder of the programs.
    pub programs: PathBuf,
    /// A folder for data, logs and histories; gone when all is as it should be.
    pub folder: PathBuf,
}

/// What came of the rounds from one seed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hunt {
    /// Rounds that were run.
    pub rounds: u64,
    /// Kills in them.
    pub kills: usize,
    /// Promises that were broken.
    pub broken: BTreeSet<Rule>,
    /// Whether all is as it should be: the mistake was found by what it breaks; or, without one, all was proven.
    pub is_right: bool,
}

impl Ground {
    /// Runs rounds from `seed` on until the mistake is found. `say` is told how far it is.
    ///
    /// # Errors
    /// A broker that does not start, or not again.
    pub fn hunt(&self, mistake: &Mistake, seed: u64, say: &mut dyn FnMut(&str)) -> anyhow::Result<Hunt> {
        let mut hunt = Hunt::default();
        while hunt.rounds < MOST_ROUNDS && !hunt.is_right {
            let outcome = self.round(mistake.processes, Some(mistake.name), seed, hunt.rounds, say)?;
            hunt.add(&outcome);
            hunt.is_right = mistake.breaks.iter().any(|rule| hunt.broken.contains(rule));
        }
        Ok(hunt)
    }

    /// Runs as many rounds as `rounds`, with the same seeds and without a mistake.
    ///
    /// # Errors
    /// A broker that does not start, or not again.
    pub fn prove(
        &self,
        processes: Processes,
        seed: u64,
        rounds: u64,
        say: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Hunt> {
        let mut hunt = Hunt {
            is_right: true,
            ..Hunt::default()
        };
        while hunt.rounds < rounds && hunt.is_right {
            let outcome = self.round(processes, None, seed, hunt.rounds, say)?;
            hunt.is_right = outcome.verdict.is_proven();
            hunt.add(&outcome);
        }
        Ok(hunt)
    }

    /// One round. What it has left goes, unless it is a finding: a broken promise that nobody has planted.
    fn round(
        &self,
        processes: Processes,
        planted: Option<&str>,
        seed: u64,
        round: u64,
        say: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Outcome> {
        let folder = self
            .folder
            .join(format!("{}-{seed}-{round}", planted.unwrap_or("none")));
        let plan = self.plan(
            processes,
            planted,
            seed.wrapping_add(round.wrapping_mul(STRIDE)),
            &folder,
        );
        let outcome = run(&plan, say)?;
        say(&outcome.verdict.to_string());
        if planted.is_some() || outcome.verdict.is_proven() {
            std::fs::remove_dir_all(&folder)?;
        } else {
            let file = folder.join("history.jsonl");
            std::fs::write(&file, outcome.history.to_json_lines()?)?;
            say(&format!("seed {}: the history is {}", plan.seed, file.display()));
        }
        Ok(outcome)
    }

    fn plan(&self, processes: Processes, planted: Option<&str>, seed: u64, folder: &Path) -> Plan {
        let program = |name: &str| self.programs.join(name);
        let (setup, parts) = match processes {
            Processes::Standalone => (
                Setup::Standalone {
                    freshet: program("freshet"),
                },
                Vec::new(),
            ),
            Processes::StorageApart => (
                Setup::Apart {
                    proxy: program("freshet-proxy"),
                    storage: program("freshet-storage-node"),
                },
                vec!["storage".to_owned()],
            ),
        };
        Plan {
            seed,
            setup,
            folders: Folders {
                scratch: folder.to_owned(),
                data: Some(folder.join("data")),
            },
            lasting: Duration::from_secs(SECONDS as u64),
            nemesis: Nemesis {
                kills: KILLS,
                parts,
                fault_points: Vec::new(),
            },
            thresholds: Thresholds::of_run(SECONDS, KILLS),
            planted: planted.map(str::to_owned),
            patience: PATIENCE,
        }
    }
}

impl Hunt {
    fn add(&mut self, outcome: &Outcome) {
        self.rounds += 1;
        self.kills += outcome.verdict.coverage.kills;
        self.broken
            .extend(outcome.verdict.violations.iter().map(|violation| violation.rule));
    }
}

impl Processes {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standalone => "one process",
            Self::StorageApart => "a proxy, and a storage node that is killed",
        }
    }
}
