//! Runs the tests that reach a mutant with the mutant switched on, until one notices it.

use std::{sync::Arc, time::Duration};

use anyhow::Result;

use super::{
    child::{self, Ended},
    reach::{Test, environment},
};

/// What became of a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Noticed,
    Survived,
    /// No test runs the place, so that none can notice it.
    NotReached,
}

impl Verdict {
    /// What became of a mutant after further tests.
    pub(super) fn and(self, further: Self) -> Self {
        match (self, further) {
            (Self::Noticed, _) | (_, Self::Noticed) => Self::Noticed,
            (Self::Survived, _) | (_, Self::Survived) => Self::Survived,
            (Self::NotReached, Self::NotReached) => Self::NotReached,
        }
    }
}

/// The first tests of a mutant that are run by one process take so long together; the next ones four times as long.
const FIRST_BATCH: Duration = Duration::from_millis(100);
/// A mutant may take so many times the usual time, and a bit.
const SLACK: u32 = 5;
const GRACE: Duration = Duration::from_secs(1);

/// Tests that one process runs.
#[derive(Debug, Default)]
struct Batch {
    tests: Vec<Arc<Test>>,
    takes: Duration,
}

/// Tries a mutant.
///
/// # Errors
/// When a test program cannot be started.
pub(super) async fn try_mutant(number: u32, tests: Vec<Arc<Test>>) -> Result<Verdict> {
    if tests.is_empty() {
        return Ok(Verdict::NotReached);
    }
    for batch in batches(tests) {
        let Some(first) = batch.tests.first() else { continue };
        let mut env = vec![environment(), ("FRESHET_MUTANT", number.to_string())];
        // The first panic ends the process, except where panics belong to the test.
        if !first.panics {
            env.push(("FRESHET_MUTANT_STRICT", "1".to_owned()));
        }
        let mut args = vec!["--exact", "--test-threads=1"];
        args.extend(batch.tests.iter().map(|test| test.name.as_str()));
        let program = &first.program;
        let cpu = batch.takes.saturating_mul(SLACK) + GRACE;
        if child::run(&program.path, &args, &env, &program.folder, cpu).await? == Ended::Failed {
            return Ok(Verdict::Noticed);
        }
    }
    Ok(Verdict::Survived)
}

/// Tests that can share a process, in batches that grow, the quick ones first.
fn batches(tests: Vec<Arc<Test>>) -> Vec<Batch> {
    let mut groups: Vec<Vec<Batch>> = Vec::new();
    for test in tests {
        let shares = |group: &&mut Vec<Batch>| {
            let first = group.first().and_then(|batch| batch.tests.first());
            first.is_some_and(|first| first.program == test.program && first.panics == test.panics)
        };
        let takes = test.took;
        let Some(group) = groups.iter_mut().find(shares) else {
            groups.push(vec![Batch {
                takes,
                tests: vec![test],
            }]);
            continue;
        };
        let most = FIRST_BATCH.saturating_mul(4_u32.saturating_pow(u32::try_from(group.len() - 1).unwrap_or(u32::MAX)));
        match group.last_mut().filter(|batch| batch.takes + takes <= most) {
            Some(batch) => {
                batch.takes += takes;
                batch.tests.push(test);
            }
            None => group.push(Batch {
                takes,
                tests: vec![test],
            }),
        }
    }
    let mut batches: Vec<Batch> = groups.into_iter().flatten().collect();
    batches.sort_by_key(|batch| batch.takes);
    batches
}
