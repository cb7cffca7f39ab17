//! Reading light queues: the queues of one session merged by position, and single messages.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use freshet_storage_contract::{FetchedMessage, Position, Pull, PulledMessage};

use super::{LightQueue, Queues};

/// Positions that one pull looks at.
const POSITIONS_PER_PULL: usize = 4_096;

/// A chunk of what is queued.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pulled {
    /// Ascending by position, each once.
    pub(crate) messages: Vec<PulledMessage>,
    /// Where the next chunk begins; none: there is no more.
    pub(crate) more_behind: Option<Position>,
    /// Messages that were passed over because their expiry interval has passed.
    pub(crate) expired: u64,
}

impl Queues {
    /// Reads messages for a session, at most about `max_bytes` of them. A long search ends early.
    pub(crate) fn pull(&self, pull: &Pull, max_bytes: usize, log_time_ms: u64) -> Pulled {
        let mut pulled = Pulled {
            messages: Vec::new(),
            more_behind: None,
            expired: 0,
        };
        let max_messages = usize::try_from(pull.max_messages).unwrap_or(usize::MAX).max(1);
        let queues: Vec<Option<&LightQueue>> = pull
            .filters
            .iter()
            .map(|f| {
                let id = self.by_name.get(&(Some(pull.session_shard), f.topic_filter.clone()))?;
                self.queues.get(*id)
            })
            .collect();
        // Next row of each queue: its position, and which filter and row it is.
        let mut heads = BinaryHeap::new();
        for (at, (queue, filter)) in queues.iter().zip(&pull.filters).enumerate() {
            let behind = filter.start.max(pull.after);
            let Some(queue) = queue else { continue };
            let row = queue.rows.partition_point(|position| *position <= behind);
            if let Some(position) = queue.rows.get(row) {
                heads.push(Reverse((*position, at, row)));
            }
        }
        let (mut bytes, mut looked_at, mut last) = (0_usize, 0_usize, pull.after);
        while let Some(Reverse((position, ..))) = heads.peek().copied() {
            if looked_at == POSITIONS_PER_PULL || pulled.messages.len() == max_messages {
                pulled.more_behind = Some(last);
                return pulled;
            }
            let found = self.messages.read(position, log_time_ms);
            if let Some((message, false)) = &found
                && !pulled.messages.is_empty()
                && bytes.saturating_add(message.charged_bytes()) > max_bytes
            {
                pulled.more_behind = Some(last);
                return pulled;
            }
            let mut filter_ids = Vec::new();
            while let Some(Reverse((_, at, row))) = heads.peek().copied().filter(|head| head.0.0 == position) {
                heads.pop();
                filter_ids.extend(pull.filters.get(at).map(|f| f.filter_id));
                let next = queues.get(at).copied().flatten().and_then(|q| q.rows.get(row + 1));
                if let Some(next) = next {
                    heads.push(Reverse((*next, at, row + 1)));
                }
            }
            match found {
                Some((message, false)) => {
                    bytes = bytes.saturating_add(message.charged_bytes());
                    pulled.messages.push(PulledMessage {
                        position,
                        filter_ids,
                        message,
                    });
                }
                Some((_, true)) => pulled.expired += 1,
                None => {}
            }
            looked_at += 1;
            last = position;
        }
        pulled
    }

    /// Reads the messages that are still there, at most about `max_bytes` of them; also says how many positions were
    /// looked at.
    pub(crate) fn fetch(
        &self,
        positions: &[Position],
        max_bytes: usize,
        log_time_ms: u64,
    ) -> (Vec<FetchedMessage>, usize) {
        let (mut messages, mut bytes) = (Vec::new(), 0_usize);
        for (looked_at, position) in positions.iter().enumerate() {
            let Some((message, _)) = self.read(*position, log_time_ms) else {
                continue;
            };
            bytes = bytes.saturating_add(message.charged_bytes());
            if !messages.is_empty() && bytes > max_bytes {
                return (messages, looked_at);
            }
            messages.push(FetchedMessage {
                position: *position,
                message,
            });
        }
        (messages, positions.len())
    }
}
