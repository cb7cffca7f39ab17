//! Waiting for something to become true, with a deadline and with what was seen last.

use std::time::{Duration, Instant};

/// How long to wait between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How often a wait that goes on is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(15);

/// What a look at a condition found.
#[derive(Debug)]
pub enum Observed<T> {
    /// The condition holds.
    Met(T),
    /// It does not hold yet, and this is what was seen instead.
    NotYet(String),
}

/// Looks until a condition holds; `look` says what it saw instead.
///
/// A look that fails counts as "not yet", so that a server which is being replaced fails no test; its error is what
/// the deadline then reports. One look is cut off at the deadline.
///
/// # Errors
/// When the deadline passes: with `what`, and what was last seen.
pub async fn await_condition<T, L>(what: &str, deadline: Duration, mut look: L) -> anyhow::Result<T>
where
    L: AsyncFnMut() -> anyhow::Result<Observed<T>>,
{
    let started = Instant::now();
    let mut reported = started;
    let mut last_seen = String::from("nothing");
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, look()).await {
            Ok(Ok(Observed::Met(value))) => return Ok(value),
            Ok(Ok(Observed::NotYet(seen))) => last_seen = seen,
            Ok(Err(error)) => last_seen = format!("{error:#}"),
            Err(_) => {}
        }
        if started.elapsed() >= deadline {
            anyhow::bail!("{what}: not within {deadline:?}; last seen: {last_seen}");
        }
        if reported.elapsed() >= REPORT_INTERVAL {
            reported = Instant::now();
            eprintln!(
                "      … {what}: {last_seen} ({})",
                crate::progress::display(started.elapsed())
            );
        }
        tokio::time::sleep(POLL_INTERVAL.min(deadline.saturating_sub(started.elapsed()))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_comes_true_returns_its_value() {
        let mut looks = 0;
        let value = await_condition("three looks", Duration::from_secs(10), async || {
            looks += 1;
            Ok(if looks == 3 {
                Observed::Met(looks)
            } else {
                Observed::NotYet(format!("{looks} looks"))
            })
        });
        assert_eq!(value.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn the_deadline_reports_what_was_last_seen() {
        let never = await_condition("never", Duration::from_millis(20), async || {
            Ok(Observed::<()>::NotYet("rain".into()))
        });
        let error = never.await.unwrap_err().to_string();
        assert!(error.contains("never") && error.contains("rain"), "{error}");
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_cut_off_at_the_deadline() {
        let hangs = await_condition("hangs", Duration::from_millis(20), async || {
            std::future::pending::<()>().await;
            Ok(Observed::Met(()))
        });
        assert!(hangs.await.is_err());
    }
}
