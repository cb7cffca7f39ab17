//! What happened so far, and waiting for what is to happen.
//!
//! Relays and drivers write, scripts read. A wait looks at everything again whenever something was added, so that
//! nothing is missed between two waits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// A list that only grows; clones are the same list.
#[derive(Debug)]
pub(crate) struct History<T> {
    entries: Arc<Mutex<Vec<T>>>,
    grown: watch::Sender<usize>,
}

impl<T> Clone for History<T> {
    fn clone(&self) -> Self {
        Self {
            entries: Arc::clone(&self.entries),
            grown: self.grown.clone(),
        }
    }
}

impl<T> Default for History<T> {
    fn default() -> Self {
        Self {
            entries: Arc::default(),
            grown: watch::Sender::new(0),
        }
    }
}

impl<T> History<T> {
    /// Appends an entry and wakes who waits.
    pub(crate) fn add(&self, entry: T) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push(entry);
        self.grown.send_replace(entries.len());
    }

    /// Looks at what is there.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&[T]) -> R) -> R {
        look(&self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks again and again until `look` finds something; `None` when `within` has passed.
    pub(crate) async fn wait<R>(&self, within: Duration, mut look: impl FnMut(&[T]) -> Option<R>) -> Option<R> {
        let mut grown = self.grown.subscribe();
        let found = async {
            loop {
                grown.mark_unchanged();
                if let Some(found) = self.look(&mut look) {
                    return Some(found);
                }
                grown.changed().await.ok()?;
            }
        };
        tokio::time::timeout(within, found).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_with_the_entry_that_it_is_for() {
        let history = History::default();
        let writer = history.clone();
        let waiting = tokio::spawn(async move {
            history
                .wait(Duration::from_secs(10), |all: &[u8]| {
                    all.iter().copied().find(|&n| n > 1)
                })
                .await
        });
        for n in 0..5 {
            writer.add(n);
            tokio::task::yield_now().await;
        }
        assert_eq!(waiting.await.unwrap(), Some(2));
    }

    #[tokio::test]
    async fn a_wait_in_vain_ends() {
        let history = History::default();
        history.add(1);
        assert_eq!(
            history.wait(Duration::from_millis(5), |all| all.get(1).copied()).await,
            None
        );
    }
}
