//! Says on standard error what is being done and how long each step took.
//!
//! Used by everything that a person waits for; leaves standard output to results that another program may read.

use std::cell::RefCell;
use std::time::{Duration, Instant};

/// One step under way: lets the work say how it is getting on.
#[derive(Debug)]
pub struct Step {
    started: Instant,
    outcome: RefCell<Option<String>>,
}

impl Step {
    /// Prints a line about a step that goes on.
    pub fn note(&self, text: impl AsRef<str>) {
        eprintln!("      … {} ({})", text.as_ref(), display(self.started.elapsed()));
    }

    /// Sets what is printed beside the duration when the step has succeeded.
    pub fn outcome(&self, text: impl Into<String>) {
        *self.outcome.borrow_mut() = Some(text.into());
    }
}

/// Does one step of a longer work, and prints its name, how long it took and what came of it.
///
/// # Errors
/// What `work` returns, after a line that says which step failed.
pub async fn step<T, W>(what: &str, work: W) -> anyhow::Result<T>
where
    W: AsyncFnOnce(&Step) -> anyhow::Result<T>,
{
    eprintln!("==> {what}");
    let step = Step {
        started: Instant::now(),
        outcome: RefCell::new(None),
    };
    let result = work(&step).await;
    let took = display(step.started.elapsed());
    match &result {
        Ok(_) => match step.outcome.borrow().as_deref() {
            Some(outcome) => eprintln!("    {took:>8}  {outcome}"),
            None => eprintln!("    {took:>8}  done"),
        },
        Err(_) => eprintln!("    {took:>8}  FAILED: {what}"),
    }
    result
}

/// Writes a duration as a person would say it: `0.3 s`, `12 s`, `3 min 05 s`.
#[must_use]
pub fn display(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=9 => format!("{:.1} s", duration.as_secs_f64()),
        10..=59 => format!("{seconds} s"),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_a_person_would_say_them() {
        assert_eq!(display(Duration::from_millis(340)), "0.3 s");
        assert_eq!(display(Duration::from_millis(12_900)), "12 s");
        assert_eq!(display(Duration::from_secs(185)), "3 min 05 s");
    }
}
