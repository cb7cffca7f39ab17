//! What the threads of the disk have done since the last turn, and whom to wake for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use freshet_storage_contract::{Position, ShardId};
use freshet_storage_log::Durable;
use futures::task::AtomicWaker;

/// Written by the threads of the disk, once per flush; read by the one that runs the core.
#[derive(Debug, Default)]
pub(super) struct News {
    told: Mutex<Told>,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct Told {
    /// Up to where each shard is flushed, as far as it has moved.
    flushed: Vec<(ShardId, Position)>,
    /// A checkpoint has taken rows, or has ended.
    went_on: bool,
}

impl News {
    /// A flush has ended.
    pub(super) fn flushed(&self, durable: &Durable) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for (shard, position) in &durable.positions {
            // Shards of the log are the core's, which has at most 1,024.
            let shard = ShardId(u16::try_from(*shard).unwrap_or(u16::MAX));
            match told.flushed.iter_mut().find(|(known, _)| *known == shard) {
                Some((_, known)) => *known = Position(*position).max(*known),
                None => told.flushed.push((shard, Position(*position))),
            }
        }
        drop(told);
        self.waker.wake();
    }

    /// The thread of checkpoints has something to say, or room.
    pub(super) fn went_on(&self) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).went_on = true;
        self.waker.wake();
    }

    /// Whether all of these have been told to be flushed since the last turn.
    pub(super) fn covers(&self, positions: &BTreeMap<ShardId, Position>) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_flushed = |(shard, position): (&ShardId, &Position)| {
            let found = told.flushed.iter().find(|(known, _)| known == shard);
            found.is_some_and(|(_, flushed)| flushed >= position)
        };
        positions.iter().all(is_flushed)
    }

    /// Ready when there is anything; else `cx` is woken then.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        // Registered first: what comes between the look and the registration would wake nobody.
        self.waker.register(cx.waker());
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.flushed.is_empty() && !told.went_on {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    /// Takes what there is.
    pub(super) fn take(&self, flushed: &mut Vec<(ShardId, Position)>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(flushed, &mut told.flushed);
        told.flushed.clear();
        told.went_on = false;
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn what_several_flushes_moved_is_told_once_with_the_last_position() {
        let news = News::default();
        let cx = Context::from_waker(Waker::noop());
        assert!(news.poll(&cx).is_pending());
        for positions in [vec![(1, 5), (0, 3)], vec![(1, 9)]] {
            news.flushed(&Durable {
                mark: freshet_storage_log::LogMark::default(),
                positions,
            });
        }
        assert!(news.poll(&cx).is_ready());
        let until = |position| BTreeMap::from([(ShardId(0), Position(3)), (ShardId(1), Position(position))]);
        assert!(news.covers(&until(9)) && !news.covers(&until(10)));
        let mut flushed = Vec::new();
        news.take(&mut flushed);
        assert_eq!(flushed, [(ShardId(1), Position(9)), (ShardId(0), Position(3))]);
        assert!(news.poll(&cx).is_pending());
        news.went_on();
        assert!(news.poll(&cx).is_ready());
    }
}
