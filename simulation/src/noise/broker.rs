//! A proxy of one worker and a storage node, hand in hand: whatever one says the other hears at once.
//!
//! Its bounds are small, so that a short script reaches them.

mod bounds;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use freshet_config::{ProxyConfig, StorageConfig};
use freshet_proxy_core::exchange::WorkerId;
use freshet_proxy_core::link::{Link, LinkOutputs, LinkSettings};
use freshet_proxy_core::worker::{
    Actions, ConnectionToken, ListenerIndex, PeerClose, Received, Worker, WorkerSettings,
};
use freshet_storage_contract::{AttachRefusal, ClusterUid, IncarnationId, MonotonicMs, SharedStrategy, Term};
use freshet_storage_core::{Outputs, StorageCore, StorageSettings};

use super::listener::Listener;
use super::script::{CLIENTS, Deed};
use crate::topics::PLACEMENT_RULE;
use crate::violation::Violation;

const CLUSTER: &str = "a-cluster";
const MAX_PACKET_BYTES: u32 = 8_000;
const OUTBOUND_BUFFER_BYTES: u32 = 20_000;
const INPUT_BYTES: u64 = 40_000;
const OUTSTANDING_PUBLISH_BYTES: u64 = 30_000;
const SUBSCRIPTIONS: u32 = 4;
const SESSIONS: u64 = 4;
const SESSION_EXPIRY_S: u32 = 4;
const RETAINED_MESSAGES: u64 = 3;
const QUEUED_MESSAGES: u64 = 5;

/// Bytes that a worker offers to a socket at once.
const OFFERED_BYTES: usize = 4 << 10;
/// Rounds after which two that answer each other never come to an end.
const MOST_ROUNDS: usize = 10_000;
/// Until sessions, wills, leases and filters that nobody confirmed have gone.
const UNTIL_ALL_HAS_EXPIRED_MS: u64 = 90_000;

/// A client's connection.
struct Seat {
    token: ConnectionToken,
    listener: Listener,
    to_server: Vec<u8>,
    is_paused: bool,
    /// Bytes that the client will take; none: all that comes.
    appetite: Option<usize>,
}

pub(super) struct Broker {
    now: MonotonicMs,
    worker: Worker,
    actions: Actions,
    link: Link,
    link_out: LinkOutputs,
    storage: StorageCore,
    storage_out: Outputs,
    incarnation: IncarnationId,
    storage_is_there: bool,
    is_attached: bool,
    seats: [Option<Seat>; CLIENTS],
    seen: BTreeMap<&'static str, u64>,
}

fn worker() -> Worker {
    let mut config = ProxyConfig {
        cluster_uid: CLUSTER.to_owned(),
        ..ProxyConfig::default()
    };
    config.mqtt.publish_hold_ms = 2_000;
    config.mqtt.receive_maximum = 4;
    config.mqtt.topic_alias_maximum = 2;
    config.mqtt.session_expiry_311_s = SESSION_EXPIRY_S;
    config.mqtt.max_session_expiry_s = SESSION_EXPIRY_S;
    config.client_limits.inflight = 4;
    config.client_limits.subscriptions = SUBSCRIPTIONS;
    config.client_limits.outbound_buffer_bytes = OUTBOUND_BUFFER_BYTES;
    config.client_limits.max_packet_bytes = MAX_PACKET_BYTES;
    let settings = WorkerSettings {
        id: WorkerId(0),
        proxy_name: "proxy-0".to_owned(),
        max_connections: 100,
        outstanding_publish_bytes: OUTSTANDING_PUBLISH_BYTES,
        outbound_bytes: 60_000,
        input_bytes: INPUT_BYTES,
        copies_deliveries: true,
        random_keys: (1, 2),
    };
    Worker::new(settings, Arc::new(config))
}

fn storage(now: MonotonicMs) -> StorageCore {
    let mut config = StorageConfig {
        cluster_uid: CLUSTER.to_owned(),
        shards: 2,
        placement_rules: vec![PLACEMENT_RULE.to_owned()],
        max_sessions: SESSIONS,
        will_grace_on_move_ms: 1_000,
        ..StorageConfig::default()
    };
    config.retained_limits.messages = RETAINED_MESSAGES;
    config.queue_limits.messages = QUEUED_MESSAGES;
    let settings = StorageSettings::new(&config, 7);
    #[expect(clippy::expect_used, reason = "the settings are constants")]
    StorageCore::new(settings, Term(1), now).expect("the placement is valid")
}

impl Broker {
    pub(super) fn new() -> Self {
        let now = MonotonicMs(1_000_000);
        let incarnation = IncarnationId(1);
        let settings = LinkSettings {
            cluster_uid: ClusterUid(CLUSTER.to_owned()),
            proxy_name: "proxy-0".to_owned(),
            workers: 1,
            delivery_credit_bytes: 64 << 10,
            shared_strategy: SharedStrategy::LeastInflight,
            random_keys: (1, 2),
        };
        Self {
            now,
            worker: worker(),
            actions: Actions::default(),
            link: Link::new(settings, incarnation),
            link_out: LinkOutputs::new(1),
            storage: storage(now),
            storage_out: Outputs::new(),
            incarnation,
            storage_is_there: true,
            is_attached: false,
            seats: [const { None }; CLIENTS],
            seen: BTreeMap::new(),
        }
    }

    /// Attaches to storage.
    pub(super) fn begin(&mut self) -> Result<(), Violation> {
        self.pass(1_500)
    }

    /// How many packets of each kind clients have heard.
    #[cfg(test)]
    pub(super) const fn seen(&self) -> &BTreeMap<&'static str, u64> {
        &self.seen
    }

    pub(super) fn take(&mut self, deed: &Deed) -> Result<(), Violation> {
        match deed {
            Deed::Say { client, bytes, begins } => self.say(*client, bytes, *begins),
            Deed::Read { client, bytes } => {
                if let Some(Some(seat)) = self.seats.get_mut(*client) {
                    seat.appetite = Some(*bytes);
                }
            }
            Deed::HangUp { client, reset } => self.hang_up(*client, *reset),
            Deed::Pass { ms } => return self.pass(*ms),
            Deed::Storage { is_there } => self.set_storage(*is_there),
        }
        self.settle()
    }

    /// Lets everything come to its end, and sees that nothing is left.
    pub(super) fn finish(&mut self) -> Result<(), Violation> {
        self.set_storage(true);
        self.settle()?;
        for client in 0..CLIENTS {
            self.hang_up(client, false);
        }
        self.pass(UNTIL_ALL_HAS_EXPIRED_MS)?;
        self.nothing_is_left()
    }

    fn say(&mut self, client: usize, bytes: &[u8], begins: bool) {
        let Some(place) = self.seats.get_mut(client) else {
            return;
        };
        if place.is_none() && begins {
            let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 4_000));
            let accepted = self.worker.accept(ListenerIndex(0), peer, self.now, &mut self.actions);
            *place = accepted.ok().map(|token| Seat {
                token,
                listener: Listener::default(),
                to_server: Vec::new(),
                is_paused: false,
                appetite: None,
            });
        }
        if let Some(seat) = place {
            seat.listener.said(bytes);
            seat.to_server.extend_from_slice(bytes);
        }
    }

    fn hang_up(&mut self, client: usize, reset: bool) {
        if let Some(seat) = self.seats.get_mut(client).and_then(Option::take) {
            let how = if reset {
                PeerClose::Error
            } else {
                PeerClose::EndOfStream
            };
            self.worker.peer_closed(seat.token, how, self.now, &mut self.actions);
        }
    }

    fn set_storage(&mut self, is_there: bool) {
        self.storage_is_there = is_there;
        if !is_there {
            self.lose_storage();
        }
    }

    fn lose_storage(&mut self) {
        if std::mem::take(&mut self.is_attached) {
            self.link.lost(&mut self.link_out);
            let out = &mut self.storage_out;
            self.storage.detach_link(self.incarnation, self.now, out);
        }
    }

    /// Lets time pass, stopping wherever something is due.
    fn pass(&mut self, ms: u64) -> Result<(), Violation> {
        let until = MonotonicMs(self.now.0 + ms);
        self.settle()?;
        while let Some(due) = self.next_deadline().filter(|due| *due <= until) {
            // What is overdue is done in a millisecond: time goes on.
            self.now = due.max(MonotonicMs(self.now.0 + 1)).min(until);
            self.tick()?;
            if self.now >= until {
                break;
            }
        }
        self.now = until;
        self.tick()
    }

    fn next_deadline(&self) -> Option<MonotonicMs> {
        let deadlines = [
            self.worker.next_deadline(),
            self.link.next_deadline(),
            self.storage.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn tick(&mut self) -> Result<(), Violation> {
        self.storage.tick(self.now, &mut self.storage_out);
        if self.link.tick(self.now, &mut self.link_out) {
            self.lose_storage();
        }
        self.worker.tick(self.now, &mut self.actions);
        self.settle()
    }

    /// Carries everything to where it belongs until nobody has anything to say.
    fn settle(&mut self) -> Result<(), Violation> {
        for _ in 0..MOST_ROUNDS {
            self.attach()?;
            self.read_clients();
            let moved = self.exchange()?;
            let wrote = self.write_clients()?;
            self.close_ended()?;
            for token in self.actions.resume_reading.drain(..) {
                let seat = self.seats.iter_mut().flatten().find(|seat| seat.token == token);
                if let Some(seat) = seat {
                    seat.is_paused = false;
                }
            }
            self.actions.facts.clear();
            let reads = self.worker.read_budget_bytes() > 0
                && self
                    .seats
                    .iter()
                    .flatten()
                    .any(|s| !s.is_paused && !s.to_server.is_empty());
            if !moved
                && !wrote
                && !reads
                && self.actions.is_empty()
                && self.link_out.to_workers.iter().all(Vec::is_empty)
            {
                return self.keeps_to_bounds();
            }
        }
        Err(Violation::new("the world comes to rest", "it does not"))
    }

    fn attach(&mut self) -> Result<(), Violation> {
        if !self.storage_is_there || self.is_attached {
            return Ok(());
        }
        let frame = self.link.attach_frame();
        match self.storage.attach(&frame, self.now, &mut self.storage_out) {
            Ok(attached) => {
                self.is_attached = true;
                let taken = self.link.attached(&attached, self.now, &mut self.link_out);
                taken.map_err(|v| Violation::new("storage keeps to the contract", v.to_string()))
            }
            Err(AttachRefusal::IncarnationGone { .. }) => {
                self.incarnation = IncarnationId(self.incarnation.0 + 1);
                self.link.start_incarnation(self.incarnation);
                self.attach()
            }
            Err(refusal) => Err(Violation::new("storage takes the proxy", refusal.to_string())),
        }
    }

    fn read_clients(&mut self) {
        for seat in self.seats.iter_mut().flatten() {
            if seat.is_paused || seat.to_server.is_empty() {
                continue;
            }
            let count = self.worker.read_budget_bytes().min(seat.to_server.len());
            if count == 0 {
                continue;
            }
            let bytes: Vec<u8> = seat.to_server.drain(..count).collect();
            match self.worker.receive(seat.token, &bytes, self.now, &mut self.actions) {
                Received::Continue => {}
                Received::PauseReading | Received::Close => seat.is_paused = true,
            }
        }
    }

    /// Between worker, link and storage. False: nothing was there to be carried.
    fn exchange(&mut self) -> Result<bool, Violation> {
        let mut moved = false;
        for event in std::mem::take(&mut self.link_out.to_workers).into_iter().flatten() {
            moved = true;
            self.worker.handle(event, self.now, &mut self.actions);
        }
        self.link_out.to_workers = vec![Vec::new()];
        self.worker.finish_turn(self.now, &mut self.actions);
        for said in self.actions.to_link.drain(..) {
            moved = true;
            self.link.handle_worker(WorkerId(0), said, &mut self.link_out);
        }
        self.link.flush(&mut self.link_out);
        let operations = std::mem::take(&mut self.link_out.operations);
        let controls = std::mem::take(&mut self.link_out.controls);
        if self.is_attached {
            let out = &mut self.storage_out;
            for operation in operations {
                moved = true;
                self.storage.handle(self.incarnation, operation, self.now, out);
            }
            for control in controls {
                moved = true;
                self.storage.handle_control(self.incarnation, control, self.now, out);
            }
        }
        moved |= self.hear_storage()?;
        Ok(moved)
    }

    fn hear_storage(&mut self) -> Result<bool, Violation> {
        let mut moved = false;
        let mut is_lost = false;
        let mut taken = Ok(());
        for frame in self.storage_out.drain_proxies() {
            if frame.incarnation != self.incarnation || !self.is_attached {
                continue;
            }
            for answer in frame.answers {
                moved = true;
                taken = taken.and(self.link.handle_answer(answer, &mut self.link_out));
            }
            for delivery in frame.deliveries {
                moved = true;
                taken = taken.and(self.link.handle_delivery(delivery, &mut self.link_out));
            }
            is_lost |= frame.close.is_some();
        }
        self.storage_out.drain_facts().for_each(drop);
        if is_lost {
            moved = true;
            self.lose_storage();
        }
        taken.map_err(|v| Violation::new("storage keeps to the contract", v.to_string()))?;
        Ok(moved)
    }

    fn write_clients(&mut self) -> Result<bool, Violation> {
        self.actions.dirty.clear();
        let mut wrote = false;
        for seat in self.seats.iter_mut().flatten() {
            while seat.appetite != Some(0) {
                let output = self.worker.pending_output(seat.token, OFFERED_BYTES, self.now);
                let count = output.len().min(seat.appetite.unwrap_or(usize::MAX));
                if count == 0 {
                    break;
                }
                wrote = true;
                let bytes: Vec<u8> = output.slices().flatten().copied().take(count).collect();
                seat.appetite = seat.appetite.map(|left| left - count);
                self.worker.written(seat.token, count, self.now, &mut self.actions);
                seat.listener.hears(&bytes, &mut self.seen)?;
            }
        }
        Ok(wrote)
    }

    fn close_ended(&mut self) -> Result<(), Violation> {
        for token in std::mem::take(&mut self.actions.close) {
            let seat = self
                .seats
                .iter_mut()
                .find(|s| s.as_ref().is_some_and(|s| s.token == token));
            let mut seat = seat.and_then(Option::take);
            loop {
                let output = self.worker.pending_output(token, OFFERED_BYTES, self.now);
                let bytes: Vec<u8> = output.slices().flatten().copied().collect();
                if bytes.is_empty() {
                    break;
                }
                self.worker.written(token, bytes.len(), self.now, &mut self.actions);
                if let Some(seat) = seat.as_mut().filter(|seat| seat.appetite.is_none()) {
                    seat.listener.hears(&bytes, &mut self.seen)?;
                }
            }
            self.worker.closed(token, self.now, &mut self.actions);
        }
        Ok(())
    }
}
