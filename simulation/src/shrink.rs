//! Makes a sequence that fails shorter, by leaving out what does not matter.

use crate::action::Sequence;
use crate::run::run;
use crate::violation::Violation;

/// Runs that are spent on one sequence.
const MOST_RUNS: usize = 3_000;

/// The shortest sequence found that breaks the same rule, and how it does.
#[must_use]
pub fn shrink(sequence: &Sequence, violation: &Violation) -> (Sequence, Violation) {
    let mut best = (sequence.clone(), violation.clone());
    let mut runs = 0;
    let mut fails = |candidate: &Sequence| {
        runs += 1;
        if runs > MOST_RUNS {
            return None;
        }
        let failure = run(candidate).err()?;
        (failure.violation.rule == violation.rule).then_some(failure.violation)
    };
    loop {
        let before = best.0.clone();
        // Halves, quarters, …, single actions.
        let mut size = best.0.steps.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < best.0.steps.len() {
                let mut candidate = best.0.clone();
                let end = (at + size).min(candidate.steps.len());
                candidate.steps.drain(at..end);
                match fails(&candidate) {
                    Some(violation) => best = (candidate, violation),
                    None => at += size,
                }
            }
            size /= 2;
        }
        // Whatever need not come in a strange order comes at once.
        for at in 0..best.0.steps.len() {
            let mut candidate = best.0.clone();
            let Some(step) = candidate.steps.get_mut(at) else { break };
            if step.schedule.take().is_some()
                && let Some(violation) = fails(&candidate)
            {
                best = (candidate, violation);
            }
        }
        if best.0 == before {
            return best;
        }
    }
}
