//! Reading light queues: the queues of one session merged by position, and single messages.
//!
//! Reading ends at the first message whose content is on disk alone. When nothing is in front of it, what a reader has to
//! wait for is named, with what comes behind it as far as one chunk would go.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use freshet_storage_contract::{FetchedMessage, Position, Pull, PulledMessage};

use super::{Content, LightQueue, Queues};

/// Positions that one pull looks at.
const POSITIONS_PER_PULL: usize = 4_096;

/// A chunk of what is queued.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pulled {
    /// Ascending by position, each once.
    pub(crate) messages: Vec<PulledMessage>,
    /// Where the next chunk begins; none: there is no more.
    pub(crate) more_behind: Option<Position>,
    /// What has to be brought back before anything can be read.
    pub(crate) missing: Missing,
}

/// Single messages that were read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fetched {
    /// Those that are still there.
    pub(crate) messages: Vec<FetchedMessage>,
    /// Positions that were looked at.
    pub(crate) looked_at: usize,
    /// What has to be brought back before anything can be read.
    pub(crate) missing: Missing,
}

/// Messages whose content is on disk alone, with what each is charged with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) messages: Vec<(Position, u64)>,
    bytes: u64,
}

impl Missing {
    /// Whether nothing has to be brought back.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The first of them.
    pub(crate) fn first(&self) -> Option<Position> {
        Some(self.messages.first()?.0)
    }

    /// Adds one, as far as `max_bytes` go. False: it is for later.
    pub(crate) fn add(&mut self, position: Position, bytes: u64, max_bytes: usize) -> bool {
        let fits = self.bytes.saturating_add(bytes) <= max_bytes as u64;
        if fits || self.is_empty() {
            self.bytes = self.bytes.saturating_add(bytes);
            self.messages.push((position, bytes));
            return true;
        }
        false
    }
}

impl Queues {
    /// Reads messages for a session, at most about `max_bytes` of them. A long search ends early.
    pub(crate) fn pull(&self, pull: &Pull, max_bytes: usize, log_time_ms: u64) -> Pulled {
        let mut pulled = Pulled {
            messages: Vec::new(),
            more_behind: None,
            missing: Missing::default(),
        };
        let max_messages = usize::try_from(pull.max_messages).unwrap_or(usize::MAX).max(1);
        let queues: Vec<Option<&LightQueue>> = pull
            .filters
            .iter()
            .map(|f| {
                let id = self.id_of(Some(pull.session_shard), &f.topic_filter)?;
                self.queues.get(id)
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
            let taken = pulled.messages.len().max(pulled.missing.messages.len());
            if looked_at == POSITIONS_PER_PULL || taken == max_messages {
                pulled.more_behind = Some(last);
                return pulled;
            }
            // What is in memory is read when what is in front of it is there.
            let found = if pulled.missing.is_empty() {
                self.read_queued(position, log_time_ms)
            } else {
                self.on_disk(position, log_time_ms)
            };
            match &found {
                Some((Content::Here(message), false))
                    if !pulled.messages.is_empty() && bytes.saturating_add(message.charged_bytes()) > max_bytes =>
                {
                    pulled.more_behind = Some(last);
                    return pulled;
                }
                Some((Content::OnDisk { bytes }, false)) => {
                    let is_later = !pulled.messages.is_empty();
                    if is_later || !pulled.missing.add(position, *bytes, max_bytes) {
                        pulled.more_behind = Some(last);
                        return pulled;
                    }
                }
                _ => {}
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
                Some((Content::Here(message), false)) => {
                    bytes = bytes.saturating_add(message.charged_bytes());
                    pulled.messages.push(PulledMessage {
                        position,
                        filter_ids,
                        message,
                    });
                }
                // Its expiry interval has passed, or it has to be brought back, or is gone.
                Some((Content::Here(_), true) | (Content::OnDisk { .. }, _)) | None => {}
            }
            looked_at += 1;
            last = position;
        }
        pulled
    }

    /// Reads the messages that are still there, at most about `max_bytes` of them.
    pub(crate) fn fetch(&self, positions: &[Position], max_bytes: usize, log_time_ms: u64) -> Fetched {
        let (mut messages, mut bytes, mut missing) = (Vec::new(), 0_usize, Missing::default());
        for (looked_at, position) in positions.iter().enumerate() {
            let message = match self.read(*position, log_time_ms) {
                Some((Content::Here(message), _)) if missing.is_empty() => message,
                Some((Content::OnDisk { bytes }, _))
                    if !messages.is_empty() || !missing.add(*position, bytes, max_bytes) =>
                {
                    return Fetched {
                        messages,
                        looked_at,
                        missing,
                    };
                }
                _ => continue,
            };
            bytes = bytes.saturating_add(message.charged_bytes());
            if !messages.is_empty() && bytes > max_bytes {
                return Fetched {
                    messages,
                    looked_at,
                    missing,
                };
            }
            messages.push(FetchedMessage {
                position: *position,
                message,
            });
        }
        Fetched {
            messages,
            looked_at: positions.len(),
            missing,
        }
    }
}
