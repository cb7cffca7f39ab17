//! A proxy of the world: a link, workers, and the queues between them.

use std::collections::VecDeque;
use std::sync::Arc;

use freshet_config::{ProxyConfig, SharedStrategy};
use freshet_proxy_core::exchange::{ToLink, ToWorker, WorkerId};
use freshet_proxy_core::link::{Link, LinkOutputs, LinkSettings};
use freshet_proxy_core::worker::{Actions, Worker, WorkerSettings, strategy_of};
use freshet_storage_contract::{Answer, DeliveryControl, IncarnationId, MonotonicMs, NumberedDelivery, Operation};

use super::{Channel, World};
use crate::action::SESSION_EXPIRY_311_S;
use crate::client::{SERVER_INFLIGHT, SERVER_RECEIVE_MAXIMUM};
use crate::history::Broken;

pub(super) struct Proxy {
    number: usize,
    workers: u16,
    strategy: SharedStrategy,
    pub(super) link: Link,
    pub(super) out: LinkOutputs,
    pub(super) seats: Vec<Seat>,
    /// None: the proxy is not attached.
    pub(super) streams: Option<Streams>,
    pub(super) incarnation: IncarnationId,
    /// The streams cannot be opened.
    pub(super) is_cut: bool,
    /// Nothing moves in the streams.
    pub(super) is_frozen: bool,
}

/// A worker and its mailboxes.
pub(super) struct Seat {
    pub(super) worker: Worker,
    pub(super) actions: Actions,
    to_link: VecDeque<ToLink>,
    from_link: VecDeque<ToWorker>,
}

/// What is on its way between a proxy and storage.
#[derive(Default)]
pub(super) struct Streams {
    pub(super) operations: VecDeque<Operation>,
    pub(super) controls: VecDeque<DeliveryControl>,
    pub(super) answers: VecDeque<Answer>,
    pub(super) deliveries: VecDeque<NumberedDelivery>,
}

impl Proxy {
    pub(super) fn new(number: usize, workers: u16, strategy: SharedStrategy, incarnation: IncarnationId) -> Self {
        let settings = LinkSettings {
            cluster_uid: super::storage::cluster_uid(),
            proxy_name: format!("proxy-{number}"),
            workers,
            delivery_credit_bytes: 64 << 10,
            shared_strategy: strategy_of(strategy),
            random_keys: (1, 2),
        };
        let seat = |id| {
            let settings = WorkerSettings {
                id: WorkerId(id),
                proxy_name: format!("proxy-{number}"),
                max_connections: 100,
                outstanding_publish_bytes: 1 << 20,
                outbound_bytes: 1 << 20,
                input_bytes: 1 << 20,
                copies_deliveries: true,
                random_keys: (number as u64, u64::from(id)),
            };
            Seat {
                worker: Worker::new(settings, Arc::new(config(strategy))),
                actions: Actions::default(),
                to_link: VecDeque::new(),
                from_link: VecDeque::new(),
            }
        };
        Self {
            number,
            workers,
            strategy,
            link: Link::new(settings, incarnation),
            out: LinkOutputs::new(workers),
            seats: (0..workers).map(seat).collect(),
            streams: None,
            incarnation,
            is_cut: false,
            is_frozen: false,
        }
    }

    /// A new process in this one's place.
    pub(super) fn successor(&self, incarnation: IncarnationId) -> Self {
        Self::new(self.number, self.workers, self.strategy, incarnation)
    }

    pub(super) fn next_deadline(&self) -> Option<MonotonicMs> {
        let workers = self.seats.iter().filter_map(|s| s.worker.next_deadline());
        workers.chain(self.link.next_deadline()).min()
    }

    pub(super) fn gather(&self, number: usize, channels: &mut Vec<Channel>) {
        for (at, seat) in self.seats.iter().enumerate() {
            if !seat.to_link.is_empty() {
                channels.push(Channel::ToLink(number, at));
            }
            if !seat.from_link.is_empty() {
                channels.push(Channel::ToWorker(number, at));
            }
        }
        if self.is_frozen {
            return;
        }
        match &self.streams {
            None if !self.is_cut => channels.push(Channel::Attach(number)),
            None => {}
            Some(streams) => {
                if !streams.operations.is_empty() {
                    channels.push(Channel::Operations(number));
                }
                if !streams.controls.is_empty() {
                    channels.push(Channel::Controls(number));
                }
                if !streams.answers.is_empty() {
                    channels.push(Channel::Answers(number));
                }
                if !streams.deliveries.is_empty() {
                    channels.push(Channel::Deliveries(number));
                }
            }
        }
    }
}

fn config(strategy: SharedStrategy) -> ProxyConfig {
    let mut config = ProxyConfig {
        cluster_uid: super::storage::cluster_uid().0,
        ..ProxyConfig::default()
    };
    config.mqtt.shared_strategy = strategy;
    config.mqtt.receive_maximum = SERVER_RECEIVE_MAXIMUM;
    config.mqtt.topic_alias_maximum = 2;
    config.mqtt.session_expiry_311_s = SESSION_EXPIRY_311_S;
    config.client_limits.inflight = SERVER_INFLIGHT;
    config
}

impl World {
    pub(super) fn words_to_link(&mut self, number: usize, worker: usize) {
        let proxy = &mut self.proxies[number];
        let seat = &mut proxy.seats[worker];
        let count = amount(&mut self.random, seat.to_link.len());
        let id = WorkerId(u16::try_from(worker).unwrap_or(0));
        for said in seat.to_link.drain(..count) {
            proxy.link.handle_worker(id, said, &mut proxy.out);
        }
        self.after_link(number);
    }

    pub(super) fn words_to_worker(&mut self, number: usize, worker: usize) {
        let seat = &mut self.proxies[number].seats[worker];
        let count = amount(&mut self.random, seat.from_link.len());
        for said in seat.from_link.drain(..count) {
            seat.worker.handle(said, self.now, &mut seat.actions);
        }
        self.after_worker(number, worker);
    }

    /// Ends a turn of a link and carries what it says.
    pub(super) fn after_link(&mut self, number: usize) {
        let proxy = &mut self.proxies[number];
        proxy.link.flush(&mut proxy.out);
        for (seat, said) in proxy.seats.iter_mut().zip(&mut proxy.out.to_workers) {
            seat.from_link.extend(said.drain(..));
        }
        match &mut proxy.streams {
            Some(streams) => {
                streams.operations.extend(proxy.out.operations.drain(..));
                streams.controls.extend(proxy.out.controls.drain(..));
            }
            None => {
                proxy.out.operations.clear();
                proxy.out.controls.clear();
            }
        }
    }

    /// Ends a turn of a worker and carries what it says.
    pub(super) fn after_worker(&mut self, number: usize, worker: usize) {
        let seat = &mut self.proxies[number].seats[worker];
        seat.worker.finish_turn(self.now, &mut seat.actions);
        seat.to_link.extend(seat.actions.to_link.drain(..));
        seat.actions.facts.clear();
        let dirty = std::mem::take(&mut seat.actions.dirty);
        let resumed = std::mem::take(&mut seat.actions.resume_reading);
        let closing = std::mem::take(&mut seat.actions.close);
        for token in dirty {
            if let Some(connection) = self.connection_of(number, worker, token) {
                self.sockets[connection].is_dirty = true;
            }
        }
        for token in resumed {
            if let Some(connection) = self.connection_of(number, worker, token) {
                self.sockets[connection].is_paused = false;
            }
        }
        for token in closing {
            if let Some(connection) = self.connection_of(number, worker, token) {
                self.close_by_server(connection);
            }
        }
    }

    /// The streams of a proxy are gone; what was on its way is lost.
    pub(super) fn streams_lost(&mut self, number: usize) {
        let proxy = &mut self.proxies[number];
        if proxy.streams.take().is_some() {
            proxy.link.lost(&mut proxy.out);
            self.history.broke(Broken::Streams { proxy: number });
            self.after_link(number);
        }
    }
}

/// How many of `count` things arrive together.
pub(super) fn amount(random: &mut crate::random::Random, count: usize) -> usize {
    if random.chance(50) { count } else { count.min(1) }
}
