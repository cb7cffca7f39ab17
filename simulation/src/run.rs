//! Runs a sequence and judges it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::action::Sequence;
use crate::history::History;
use crate::model;
use crate::violation::Violation;
use crate::world::World;

/// What a run that broke no rule came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// Messages that clients published.
    pub published: usize,
    /// PUBLISH packets that clients received.
    pub delivered: usize,
    /// Queued messages that storage read back from its disk.
    pub loaded: usize,
}

/// A run that broke a rule.
#[derive(Debug)]
pub struct Failure {
    /// The rule, and how it was broken.
    pub violation: Violation,
    /// Everything that was said, if the run was traced.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        write!(f, "{}", self.violation)
    }
}

/// Runs a sequence in a world of its own.
///
/// # Errors
/// [`Failure`]: a rule does not hold, or a core has panicked.
pub fn run(sequence: &Sequence) -> Result<Outcome, Failure> {
    run_with(sequence, History::default())
}

/// Runs a sequence and keeps a trace of what was said, for people.
///
/// # Errors
/// [`Failure`].
pub fn run_traced(sequence: &Sequence) -> Result<Outcome, Failure> {
    run_with(sequence, History::traced())
}

fn run_with(sequence: &Sequence, history: History) -> Result<Outcome, Failure> {
    let mut world = World::new(sequence, history);
    // Whatever a panic leaves behind is only read for its trace.
    let ran = catch_unwind(AssertUnwindSafe(|| live(&mut world, sequence)));
    let violation = match ran {
        Ok(Ok(())) => {
            let history = &world.history;
            return Ok(Outcome {
                published: history.messages.len(),
                delivered: history.deliveries.len(),
                loaded: world.loaded(),
            });
        }
        Ok(Err(violation)) => violation,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Violation::new("nothing panics", text.unwrap_or_default())
        }
    };
    let trace = world.history.trace().to_vec();
    Err(Failure { violation, trace })
}

fn live(world: &mut World, sequence: &Sequence) -> Result<(), Violation> {
    world.begin()?;
    for step in &sequence.steps {
        world.step(step)?;
    }
    world.come_to_rest()?;
    model::judge(&world.history)?;
    world.empty()
}

#[cfg(test)]
mod tests;
