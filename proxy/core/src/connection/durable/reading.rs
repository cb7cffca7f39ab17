//! Reading what is queued for a session that is behind: in chunks, when its client has room for them.

use freshet_storage_contract::{Pull, PullFilter, RequestId, ShardId};

use super::{Durable, Mode};
use crate::connection::{Connection, Context, Phase};
use crate::exchange::ToLink;
use crate::filters::FilterTable;
use crate::worker::{ConnectionToken, Read, Request};

/// A pull or a fetch of a session.
#[derive(Debug)]
pub(crate) struct SessionRead {
    pub(crate) token: ConnectionToken,
    /// Shard of the messages.
    pub(crate) shard: ShardId,
    /// What the link is to be asked; none: it was.
    pub(crate) ask: Option<ToLink>,
}

/// Messages in one chunk.
const CHUNK_MESSAGES: u32 = 256;
/// Bytes in one chunk, if the client's queue has room for that.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes in one chunk, however many shards are read at once.
const LEAST_CHUNK_BYTES: usize = 4 << 10;

impl Durable {
    /// The session's filters at a shard.
    fn filters_at(&self, shard: ShardId, filters: &FilterTable) -> Vec<PullFilter> {
        let at_shard = self
            .readers
            .iter()
            .filter_map(|(key, starts)| Some((*key, starts.iter().find(|start| start.shard == shard)?.position)));
        at_shard
            .filter_map(|(key, start)| {
                Some(PullFilter {
                    filter_id: filters.filter_id(key)?,
                    topic_filter: filters.topic_filter(key),
                    start,
                })
            })
            .collect()
    }

    /// Reads under way or waiting.
    pub(crate) fn reads_under_way(&self) -> Vec<RequestId> {
        let pulls = self.cursors.iter().filter_map(|cursor| match cursor.mode {
            Mode::Pulling { request, .. } => Some(request),
            Mode::Tail | Mode::Behind => None,
        });
        let fetches = self
            .restoring
            .iter()
            .flat_map(|r| r.fetches.iter().map(|(request, _)| *request));
        pulls.chain(fetches).collect()
    }

    /// A shard may have lost live deliveries.
    pub(crate) fn leave_tail(&mut self, shard: ShardId) {
        if let Some(cursor) = self.cursor_mut(shard) {
            cursor.leave_tail();
        }
    }
}

impl Connection {
    /// Asks for what is queued where the session is behind, if the client has read most of what it was sent.
    pub(crate) fn read_on(&mut self, cx: &mut Context<'_>) {
        let room = (self.outbound_limit as usize / 2)
            .checked_sub(self.outbound.as_ref().map_or(0, |outbound| outbound.total_bytes()));
        let (Some(_), Phase::Connected) = (room, self.phase) else {
            return;
        };
        let limit = self.outbound_limit as usize / 2;
        let Some(durable) = self.durable_mut().filter(|d| d.restoring.is_none()) else {
            return;
        };
        let behind = durable.cursors.iter().filter(|c| c.mode == Mode::Behind);
        let shards: Vec<_> = behind.map(|cursor| cursor.shard).collect();
        for shard in &shards {
            let filters = durable.filters_at(*shard, &cx.shared.filters);
            let session_shard = durable.shard;
            let Some(cursor) = durable.cursor_mut(*shard) else {
                continue;
            };
            if filters.is_empty() {
                cursor.mode = Mode::Tail;
                continue;
            }
            let bytes = (limit / shards.len()).clamp(LEAST_CHUNK_BYTES, CHUNK_BYTES);
            let read = SessionRead {
                token: cx.token,
                shard: *shard,
                ask: None,
            };
            let request = cx.shared.requests.add(Request::Read(Box::new(read)));
            cursor.mode = Mode::Pulling { request, cap: None };
            let pull = Pull {
                request,
                shard: *shard,
                session_shard,
                after: cursor.handed(),
                filters,
                max_messages: CHUNK_MESSAGES,
                max_bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            };
            if let Some(Request::Read(read)) = cx.shared.requests.get_mut(request) {
                read.ask = Some(ToLink::Pull(pull));
            }
            cx.shared.read_on(Read::Session(request), cx.out);
        }
    }
}
