//! Retained reads of the proxy's subscribers: one per subscription and shard, a chunk at a time.
//!
//! A read names itself to storage anew for each chunk. What storage has not answered when a stream breaks is asked
//! again; a chunk that comes twice is passed over.

use std::collections::BTreeMap;

use bytes::Bytes;
use freshet_storage_contract::{Position, ReadRetained, RequestId, ShardId};

/// Reads under way and reads that wait for their subscriber.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Keyed by subscription and shard, so that all reads of a subscription lie together.
    reads: BTreeMap<(RequestId, ShardId), Read>,
    /// Which read a chunk belongs to; holds the chunks that storage owes.
    owed: BTreeMap<RequestId, (RequestId, ShardId)>,
}

#[derive(Debug)]
struct Read {
    topic_filter: Bytes,
    after: Option<Bytes>,
    up_to: Option<Position>,
    /// The subscriber has not joined: it does with the first chunk.
    joins: bool,
    /// The chunk that storage owes; none: the subscriber has no room yet.
    chunk: Option<RequestId>,
}

/// Whose chunk has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) subscription: RequestId,
    /// It is the first of its read: the subscriber joins here.
    pub(super) first: bool,
}

impl Reads {
    /// Begins a read under the name `chunk`. `start`: where the subscriber has joined; none: it joins with the read.
    pub(super) fn begin(
        &mut self,
        subscription: RequestId,
        shard: ShardId,
        topic_filter: Bytes,
        chunk: RequestId,
        start: Option<Position>,
    ) {
        let read = Read {
            topic_filter,
            after: None,
            up_to: start,
            joins: start.is_none(),
            chunk: Some(chunk),
        };
        self.reads.insert((subscription, shard), read);
        self.owed.insert(chunk, (subscription, shard));
    }

    /// The subscriber has room: asks for the next chunk under the name `chunk`. False: there is none to ask for.
    pub(super) fn go_on(&mut self, subscription: RequestId, shard: ShardId, chunk: RequestId) -> bool {
        match self.reads.get_mut(&(subscription, shard)) {
            Some(read) if read.chunk.is_none() => {
                read.chunk = Some(chunk);
                self.owed.insert(chunk, (subscription, shard));
                true
            }
            _ => false,
        }
    }

    /// A chunk has arrived. None: nobody waits for it any more.
    pub(super) fn arrived(&mut self, chunk: RequestId, up_to: Position, next: Option<&Bytes>) -> Option<Chunk> {
        let key = self.owed.remove(&chunk)?;
        let read = self.reads.get_mut(&key)?;
        let first = std::mem::take(&mut read.joins);
        match next {
            Some(next) => {
                read.after = Some(next.clone());
                read.up_to.get_or_insert(up_to);
                read.chunk = None;
            }
            None => {
                self.reads.remove(&key);
            }
        }
        Some(Chunk {
            subscription: key.0,
            first,
        })
    }

    /// The subscriber has gone.
    pub(super) fn withdraw(&mut self, subscription: RequestId) {
        let all = (subscription, ShardId(0))..=(subscription, ShardId(u16::MAX));
        let gone: Vec<_> = self.reads.range(all).map(|(key, read)| (*key, read.chunk)).collect();
        for (key, chunk) in gone {
            self.reads.remove(&key);
            if let Some(chunk) = chunk {
                self.owed.remove(&chunk);
            }
        }
    }

    /// The request for a chunk that is owed.
    pub(super) fn request(&self, chunk: RequestId, max_bytes: u32) -> Option<ReadRetained> {
        let key = self.owed.get(&chunk)?;
        let read = self.reads.get(key)?;
        Some(ReadRetained {
            request: chunk,
            shard: key.1,
            topic_filter: read.topic_filter.clone(),
            after: read.after.clone(),
            up_to: read.up_to,
            max_bytes,
        })
    }

    /// Chunks of a shard that storage owes.
    pub(super) fn owed_by(&self, shard: ShardId) -> Vec<RequestId> {
        self.owed
            .iter()
            .filter(|(_, key)| key.1 == shard)
            .map(|(chunk, _)| *chunk)
            .collect()
    }

    /// The shard has a new leader without the old one's memory: its positions mean nothing any more. A read that had
    /// begun goes on behind its last topic.
    pub(super) fn forget_positions(&mut self, shard: ShardId) {
        for (_, read) in self.reads.iter_mut().filter(|(key, _)| key.1 == shard) {
            if read.up_to.is_some() {
                read.up_to = Some(Position(u64::MAX));
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.reads.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUB: RequestId = RequestId(1);
    const SHARD: ShardId = ShardId(3);

    fn begun() -> Reads {
        let mut reads = Reads::default();
        reads.begin(SUB, SHARD, Bytes::from_static(b"a/#"), RequestId(100), None);
        reads
    }

    #[test]
    fn a_read_goes_on_behind_its_last_chunk_when_the_subscriber_has_room() {
        let mut reads = begun();
        let next = Bytes::from_static(b"a/7");
        assert_eq!(
            reads.arrived(RequestId(100), Position(9), Some(&next)),
            Some(Chunk {
                subscription: SUB,
                first: true
            })
        );
        assert!(reads.go_on(SUB, SHARD, RequestId(101)));
        assert!(!reads.go_on(SUB, SHARD, RequestId(102)), "one chunk at a time");
        let request = reads.request(RequestId(101), 10).unwrap();
        assert_eq!((request.after, request.up_to), (Some(next), Some(Position(9))));
        let last = reads.arrived(RequestId(101), Position(9), None).unwrap();
        assert!(!last.first);
        assert_eq!(reads.len(), 0);
    }

    #[test]
    fn a_chunk_that_comes_twice_is_passed_over() {
        let mut reads = begun();
        assert!(reads.arrived(RequestId(100), Position(9), None).is_some());
        assert_eq!(reads.arrived(RequestId(100), Position(9), None), None);
    }

    #[test]
    fn nothing_is_owed_to_a_subscriber_that_has_gone() {
        let mut reads = begun();
        assert_eq!(reads.owed_by(SHARD), [RequestId(100)]);
        reads.withdraw(SUB);
        assert!(reads.owed_by(SHARD).is_empty());
        assert_eq!(reads.arrived(RequestId(100), Position(9), None), None);
    }
}
