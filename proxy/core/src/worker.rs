//! One thread's share of a proxy: its connections, speaking MQTT.
//!
//! Called by the shell with bytes, ends of connections, events of the link and time; answers with [`Actions`]. A turn
//! is: any number of [`Worker::receive`], [`Worker::peer_closed`], [`Worker::handle`] and [`Worker::tick`], one
//! [`Worker::finish_turn`], then for each dirty connection [`Worker::pending_output`] and [`Worker::written`] until
//! there is nothing left or the socket is full. Nothing here reads a clock, a socket or a random source, and nothing
//! blocks. Leaves out sockets, listeners' own limits (the shell counts over all workers) and routing (storage).

mod actions;
mod attaches;
mod clients;
mod deliver;
mod drain;
mod end;
mod events;
mod leaving;
mod moves;
mod publications;
mod queued;
mod receive;
mod requests;
mod session_updates;
mod settings;
mod shared;
mod shared_subscriptions;
mod slots;
mod stage;
mod token;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use freshet_config::ProxyConfig;
use freshet_storage_contract::{DeliverySeq, MonotonicMs, ShardId, Term};

pub use self::actions::{Actions, Fact, PeerClose, Received, Refusal};
pub use self::drain::DrainPace;
pub use self::moves::{MoveKind, MovePace};
pub use self::settings::WorkerSettings;
pub use self::shared_subscriptions::strategy_of;
pub use self::stage::PendingOutput;
pub use self::token::{ConnectionToken, ListenerIndex};

pub(crate) use self::queued::merge_matching;
pub(crate) use self::requests::{Read, Request};
pub(crate) use self::shared::Shared;
pub(crate) use self::stage::Stage;

use self::deliver::Targets;
use self::slots::Connections;
use crate::connection::{Connection, Context, Pause, Phase};
use crate::exchange::ToLink;
use crate::reason::DisconnectReason;
use crate::round_trips::RoundTripCounts;
use crate::stats::WorkerStats;
use crate::timers::bucket_of;

/// Over how many seconds CONNACKs are counted: what is steered by them must see soon what it has done.
const NEWEST_S: u64 = 3;

/// One thread's connections and what they share.
pub struct Worker {
    connections: Connections,
    shared: Shared,
    stage: Stage,
    targets: Targets,
    /// Last delivery of each shard in this turn.
    accepted: Vec<(ShardId, Term, DeliverySeq)>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("id", &self.shared.settings.id)
            .field("connections", &self.connections.len())
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// A worker without connections. It takes connections at once; their CONNECTs wait for storage.
    #[must_use]
    pub fn new(settings: WorkerSettings, config: Arc<ProxyConfig>) -> Self {
        Self {
            connections: Connections::default(),
            shared: Shared::new(settings, config),
            stage: Stage::default(),
            targets: Targets::default(),
            accepted: Vec::new(),
        }
    }

    /// Takes a new connection over.
    ///
    /// # Errors
    /// [`Refusal`]: the shell closes the socket; it is counted here.
    pub fn accept(
        &mut self,
        listener: ListenerIndex,
        peer: SocketAddr,
        now: MonotonicMs,
        out: &mut Actions,
    ) -> Result<ConnectionToken, Refusal> {
        if self.shared.is_shutting_down() {
            self.shared.stats.count_disconnect(DisconnectReason::ServerShutdown);
            return Err(Refusal::Draining);
        }
        if self.shared.attaches.is_overrun() && !self.shared.storage_away {
            self.shared.stats.count_disconnect(DisconnectReason::ServerBusy);
            return Err(Refusal::TooManyAtOnce);
        }
        let connection = Connection::new(peer, listener, self.shared.config.clone(), now);
        let has_room = self.connections.len() < self.shared.settings.max_connections as usize;
        let Some(token) = has_room.then(|| self.connections.insert(connection)).flatten() else {
            self.shared.stats.count_disconnect(DisconnectReason::TooManyConnections);
            return Err(Refusal::TooManyConnections);
        };
        self.forget_gone();
        self.shared.stats.connections_accepted += 1;
        self.shared.stats.connections_now += 1;
        self.with(token, now, out, |connection, cx| connection.arm(cx));
        Ok(token)
    }

    /// What `token` has to write, up to about `max_bytes`; empty when there is nothing or the token names no
    /// connection. [`Self::written`] must follow; if it does not, nothing is taken as written.
    pub fn pending_output(&mut self, token: ConnectionToken, max_bytes: usize, now: MonotonicMs) -> PendingOutput<'_> {
        self.settle_stage(0);
        self.stage.begin(token);
        match self.connections.get_mut(token) {
            Some(connection) => {
                connection.stage(token, &mut self.stage, &mut self.shared, now, max_bytes);
                self.stage.seal();
            }
            None => self.stage.clear(),
        }
        PendingOutput { stage: &self.stage }
    }

    /// Whether anything waits to be written to `token`, perhaps something that its window has no room for. Cheaper than to
    /// ask for the output.
    #[must_use]
    pub fn has_output(&self, token: ConnectionToken) -> bool {
        self.connections
            .get(token)
            .is_some_and(|connection| connection.outbound.is_some())
    }

    /// The socket of `token` took `bytes` of its pending output. Less than all of it: the shell waits until the socket
    /// takes more and asks for the output again.
    pub fn written(&mut self, token: ConnectionToken, bytes: usize, now: MonotonicMs, out: &mut Actions) {
        if self.stage.token == Some(token) {
            self.settle_stage(bytes);
        }
        self.with(token, now, out, |connection, cx| connection.after_write(cx));
        self.shared.spare.watch(now);
        self.resume_paused(now, out);
    }

    fn settle_stage(&mut self, written: usize) {
        let Some(token) = self.stage.token else { return };
        if let Some(connection) = self.connections.get_mut(token) {
            let written = written.min(self.stage.len());
            connection.unstage(&self.stage, written, &mut self.shared);
        }
        self.stage.clear();
    }

    /// Acts on what is due. To be called at [`Self::next_deadline`] or later.
    pub fn tick(&mut self, now: MonotonicMs, out: &mut Actions) {
        while let Some((bucket, tokens)) = self.shared.timers.pop_due(now) {
            for token in tokens {
                self.on_timer(token, bucket, now, out);
            }
        }
        self.move_some(now, out);
        self.resume_paused(now, out);
        self.tell_urgent_updates(now, out);
        self.tell_other_updates(now, out);
        self.reopen_groups(now, out);
        self.shared.settlements.tell(out);
        self.shared.spare.trim(now);
    }

    fn on_timer(&mut self, token: ConnectionToken, bucket: u64, now: MonotonicMs, out: &mut Actions) {
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        // Overtaken by an earlier deadline, which has set its own successor.
        if bucket_of(connection.timer_at) != bucket {
            return;
        }
        connection.timer_at = MonotonicMs(u64::MAX);
        match connection.deadline(now) {
            Some(at) if at <= now => {
                let keep_alive = connection.keep_alive_deadline(now).is_some_and(|at| at <= now);
                let ending = match connection.phase {
                    Phase::New => DisconnectReason::ConnectTimeout.into(),
                    Phase::Attaching => connection.refuse(DisconnectReason::StorageUnavailable),
                    _ if keep_alive => DisconnectReason::KeepAliveTimeout.into(),
                    _ => DisconnectReason::StorageUnavailable.into(),
                };
                self.end(token, ending, now, out);
            }
            Some(_) => {
                self.with(token, now, out, |connection, cx| connection.arm(cx));
            }
            None => {}
        }
    }

    /// When [`Self::tick`] has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<MonotonicMs> {
        let moves = self
            .shared
            .mover
            .as_ref()
            .and_then(|mover| mover.next_step(self.is_drained()));
        self.shared
            .timers
            .next()
            .into_iter()
            .chain(moves)
            .chain(self.shared.session_updates.next())
            .chain((!self.shared.settlements.is_empty()).then_some(MonotonicMs(0)))
            .chain(self.shared.closed_groups.next())
            .chain(self.shared.spare.next_trim())
            .chain(
                self.shared
                    .attaches
                    .next_given_up()
                    .filter(|_| !self.shared.storage_away),
            )
            .min()
    }

    /// Begins a turn. `sockets_wait`: more of them are ready than it takes up. Only so many reads of what is queued or
    /// retained begin in a turn, and fewer while sockets wait. A shell that never calls this has no such bound.
    pub fn begin_turn(&mut self, sockets_wait: bool) {
        self.shared.reads.begin_turn(sockets_wait);
    }

    /// What is received from now on may have been waiting to be read since then. Clients wait for that as well, so that it
    /// counts in how long they wait for an answer. A shell that never calls this has read everything at once.
    pub fn read_what_came_since(&mut self, since: MonotonicMs) {
        self.shared.arrived_since = Some(since);
    }

    /// Whether the next turn has something to begin for which this one had no room. It must come by itself.
    #[must_use]
    pub fn must_go_on(&self) -> bool {
        self.shared.reads.wait_for_turn()
    }

    /// Ends a turn: says once per shard what was taken over, and goes on with what waited for room.
    pub fn finish_turn(&mut self, now: MonotonicMs, out: &mut Actions) {
        self.shared.spare.watch(now);
        for (shard, term, seq) in self.accepted.drain(..) {
            out.to_link.push(ToLink::Accepted { shard, term, seq });
        }
        if self.shared.reads.is_waiting() {
            self.shared.begin_reads(out);
        }
        self.begin_attaches(now, out);
        self.shared.stats.attaches_waiting_now = self.shared.attaches.waiting();
        self.shared.stats.attach_window_now = self.shared.attaches.window();
        self.resume_paused(now, out);
        self.tell_urgent_updates(now, out);
        self.reopen_groups(now, out);
        self.shared.settlements.tell(out);
    }

    /// Takes up a changed configuration: rules about publishing and subscribing for all connections, the rest for those
    /// that come from now on.
    pub fn reload(&mut self, config: Arc<ProxyConfig>) {
        self.shared.reload(config);
    }

    /// Counters and gauges.
    #[must_use]
    pub fn stats(&self) -> &WorkerStats {
        &self.shared.stats
    }

    /// How long publications took from PUBLISH to their outcome within the last 10 s.
    #[must_use]
    pub fn round_trips(&self, now: MonotonicMs) -> RoundTripCounts {
        self.shared.round_trips.recent(now)
    }

    /// How long those took that had their outcome within the last 3 s.
    #[must_use]
    pub fn newest_round_trips(&self, now: MonotonicMs) -> RoundTripCounts {
        self.shared.round_trips.within(NEWEST_S, now)
    }

    /// How long CONNECTs took until CONNACK within the last 3 s, counted as of QoS 0.
    #[must_use]
    pub fn connacks(&self, now: MonotonicMs) -> RoundTripCounts {
        self.shared.connacks.within(NEWEST_S, now)
    }

    /// How many bytes the shell may read at once from any connection. Little while publications wait for their
    /// outcome in great number, since what cannot be taken has to be kept; 0 when there is no more room: the shell
    /// tries again after the next turn.
    #[must_use]
    pub fn read_budget_bytes(&self) -> usize {
        const USUAL: usize = 64 << 10;
        const LITTLE: usize = 2 << 10;
        if self.shared.stats.input_bytes_now >= self.shared.settings.input_bytes / 2 {
            return if self.shared.is_over_publish_budget() {
                0
            } else {
                LITTLE
            };
        }
        if self.shared.is_over_publish_budget() {
            LITTLE
        } else {
            USUAL
        }
    }

    /// Runs `act` on a connection, if it is there, with what it may use.
    fn with<T>(
        &mut self,
        token: ConnectionToken,
        now: MonotonicMs,
        out: &mut Actions,
        act: impl FnOnce(&mut Connection, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let connection = self.connections.get_mut(token)?;
        Some(act(
            connection,
            &mut Context {
                shared: &mut self.shared,
                token,
                now,
                out,
            },
        ))
    }

    /// Drops names of connections that have gone from the lists of those that wait, before they outweigh the others.
    fn forget_gone(&mut self) {
        let most = 2 * self.connections.len() + 64;
        let connections = &self.connections;
        if self.shared.waiting_for_budget.len() > most {
            let waits = |c: &Connection| c.paused == Some(Pause::Budget);
            self.shared
                .waiting_for_budget
                .retain(|token| connections.get(*token).is_some_and(waits));
        }
        let attaches = |c: &Connection| c.phase == Phase::Attaching;
        self.shared
            .attaches
            .retain(most, |token| connections.get(token).is_some_and(attaches));
    }

    /// Goes on with connections whose pause is over.
    fn resume_paused(&mut self, now: MonotonicMs, out: &mut Actions) {
        loop {
            while let Some(token) = self.shared.to_resume.pop() {
                self.resume(token, now, out);
            }
            if self.shared.waiting_for_budget.is_empty() || !self.shared.has_publish_budget() {
                return;
            }
            let Some(token) = self.shared.waiting_for_budget.pop_front() else {
                return;
            };
            if self
                .connections
                .get(token)
                .is_some_and(|c| c.paused == Some(Pause::Budget))
            {
                self.resume(token, now, out);
            }
        }
    }
}

#[cfg(test)]
mod tests;
