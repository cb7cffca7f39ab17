//! Looks at a running core from outside of its thread, for people (`freshet admin`).
//!
//! Who asks hands over what to look at ([`Looker`]); the thread that owns the core does so between two turns, one look at a
//! time ([`Looks`]). A look is bounded by what it calls (`freshet_storage_core::inspect`), so it delays what the node is for
//! by some milliseconds at most. The storage node's actor and `freshet standalone` answer alike, and [`inspection_routes`]
//! is the same for both.

mod routes;

use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

use freshet_storage_contract::MonotonicMs;
use freshet_storage_core::StorageCore;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

pub use self::routes::{LOG_PATH, QUEUES_PATH, Refused, SESSION_PATH, SESSIONS_PATH, SHARDS_PATH, inspection_routes};
use crate::disk::NodeDisk;

/// How long a look may take, until its turn has come included.
const PATIENCE: Duration = Duration::from_secs(5);

type Look = Box<dyn FnOnce(&StorageCore, Option<&NodeDisk>, MonotonicMs) + Send>;

/// Asks for looks.
#[derive(Clone)]
pub struct Looker(mpsc::Sender<Look>);

/// What the thread of the core is asked for.
pub struct Looks(mpsc::Receiver<Look>);

impl fmt::Debug for Looker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Looker")
    }
}

impl fmt::Debug for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Looks")
    }
}

impl Looker {
    /// Both sides. One look waits at most; who else asks waits outside.
    #[must_use]
    pub fn new() -> (Self, Looks) {
        let (looker, looks) = mpsc::channel(1);
        (Self(looker), Looks(looks))
    }

    /// What `look` returns of the core; none: the core's thread does not come to it, or has ended.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&StorageCore, Option<&NodeDisk>, MonotonicMs) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let look: Look = Box::new(move |core, disk, now| {
            // Who asked may have given up: then it costs nothing.
            if !reply.is_closed() {
                drop(reply.send(look(core, disk, now)));
            }
        });
        let ask = async {
            self.0.send(look).await.ok()?;
            answer.await.ok()
        };
        timeout(PATIENCE, ask).await.ok().flatten()
    }
}

impl Looks {
    /// Answers what is asked for, one look in each call; wakes `cx` when there is one, or another one.
    pub fn poll(&mut self, cx: &mut Context<'_>, core: &StorageCore, disk: Option<&NodeDisk>, now: MonotonicMs) {
        if let Poll::Ready(Some(look)) = self.0.poll_recv(cx) {
            look(core, disk, now);
            cx.waker().wake_by_ref();
        }
    }

    /// The next look; none when nobody can ask any more.
    pub(crate) async fn next(&mut self) -> Option<Look> {
        self.0.recv().await
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use freshet_config::StorageConfig;
    use freshet_storage_contract::Term;
    use freshet_storage_core::StorageSettings;

    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_looked_at() {
        let (looker, mut looks) = Looker::new();
        let (looked, mut has_looked) = oneshot::channel();
        let asking = tokio::spawn(async move { looker.look(move |_, _, _| looked.send(()).is_ok()).await });
        while looks.0.is_empty() {
            tokio::task::yield_now().await;
        }
        asking.abort();
        assert!(asking.await.is_err());
        let now = MonotonicMs(0);
        let core = StorageCore::new(StorageSettings::new(&StorageConfig::default(), 1), Term(1), now).unwrap();
        looks.poll(&mut Context::from_waker(Waker::noop()), &core, None, now);
        assert!(looks.0.is_empty());
        assert!(has_looked.try_recv().is_err());
    }

    #[tokio::test]
    async fn one_look_is_answered_in_each_turn() {
        let (looker, mut looks) = Looker::new();
        let now = MonotonicMs(7);
        let core = StorageCore::new(StorageSettings::new(&StorageConfig::default(), 1), Term(1), now).unwrap();
        let asked: Vec<_> = (0..2)
            .map(|number| {
                let looker = looker.clone();
                tokio::spawn(async move { looker.look(move |_, _, now| (number, now)).await })
            })
            .collect();
        let mut answers = Vec::new();
        for one in asked {
            while !one.is_finished() {
                looks.poll(&mut Context::from_waker(Waker::noop()), &core, None, now);
                tokio::task::yield_now().await;
            }
            answers.push(one.await.unwrap());
        }
        assert_eq!(answers, [Some((0, now)), Some((1, now))]);
    }
}
