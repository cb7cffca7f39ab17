//! The world: proxies, a storage node, clients, and everything that is on its way between them.
//!
//! Each pair of ends has a queue that keeps its order; which queue moves next is drawn from the schedule's seed. So
//! every order of arrival that a network could make can come up, and comes up again with the same seed.

mod actions;
mod bounds;
mod disk;
mod proxy;
mod sockets;
mod storage;

use freshet_proxy_core::worker::ConnectionToken;
use freshet_storage_contract::MonotonicMs;

use self::proxy::Proxy;
use self::sockets::Socket;
use self::storage::{Storage, resident_bytes};
use crate::action::{Action, SLOTS, Sequence, Step};
use crate::client::Client;
use crate::history::{Broken, History};
use crate::random::Random;
use crate::violation::Violation;

/// Moves after which a world that has not come to rest never will.
const MOST_MOVES: usize = 100_000;

/// A queue that has something to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    /// Bytes of a client on their way to its worker.
    ToServer(usize),
    /// A worker's bytes on their way into the socket.
    FromServer(usize),
    /// Bytes that the client has not read.
    ToClient(usize),
    /// What a worker has said to its link.
    ToLink(usize, usize),
    /// What the link has said to a worker.
    ToWorker(usize, usize),
    Attach(usize),
    Operations(usize),
    Controls(usize),
    Answers(usize),
    Deliveries(usize),
    /// Records of storage on their way to its disk.
    Disk,
    /// What storage reads of its last checkpoint.
    Loads,
}

/// Everything there is.
pub(crate) struct World {
    seed: u64,
    now: MonotonicMs,
    random: Random,
    storage: Storage,
    proxies: Vec<Proxy>,
    /// Every connection there was, by the client's name for it.
    sockets: Vec<Socket>,
    clients: Vec<Client>,
    /// Connections whose sockets still matter.
    open: Vec<usize>,
    slots: [Option<usize>; SLOTS],
    pub(crate) history: History,
    /// A queue that moves only when nothing else does: what is in it comes very late.
    laggard: Option<Channel>,
    /// Reused.
    channels: Vec<Channel>,
    next_incarnation: u128,
}

impl World {
    pub(crate) fn new(sequence: &Sequence, history: History) -> Self {
        let now = MonotonicMs(1_000_000);
        let mut world = Self {
            seed: sequence.seed,
            now,
            random: Random::new(sequence.seed),
            storage: Storage::new(sequence.shards, sequence.memory, resident_bytes(sequence.seed), now),
            proxies: Vec::new(),
            sockets: Vec::new(),
            clients: Vec::new(),
            open: Vec::new(),
            slots: [None; SLOTS],
            history,
            laggard: None,
            channels: Vec::new(),
            next_incarnation: 1,
        };
        for number in 0..sequence.proxies {
            let incarnation = world.take_incarnation();
            world
                .proxies
                .push(Proxy::new(number, sequence.workers, sequence.strategy, incarnation));
        }
        world
    }

    fn take_incarnation(&mut self) -> freshet_storage_contract::IncarnationId {
        self.next_incarnation += 1;
        freshet_storage_contract::IncarnationId(self.next_incarnation)
    }

    /// Storage comes up, and proxies attach.
    ///
    /// # Errors
    /// A rule does not hold.
    pub(crate) fn begin(&mut self) -> Result<(), Violation> {
        self.pass(1_500)
    }

    /// Takes an action, then moves some of what is on its way.
    ///
    /// # Errors
    /// A rule does not hold.
    pub(crate) fn step(&mut self, step: &Step) -> Result<(), Violation> {
        self.history.say(|| format!("--- {:?}", step.action));
        self.random = Random::new(step.schedule.unwrap_or(0));
        self.act(&step.action)?;
        if matches!(step.action, Action::Await { .. }) {
            return Ok(());
        }
        if step.schedule.is_none() || self.random.chance(15) {
            return self.settle();
        }
        for _ in 0..self.random.below(24) {
            if self.random.chance(3) {
                self.laggard = self.choose_channel();
            }
            if !self.move_something()? {
                break;
            }
        }
        Ok(())
    }

    /// Lets everything come to rest: what was broken is mended, clients read and acknowledge, time passes.
    ///
    /// # Errors
    /// A rule does not hold.
    pub(crate) fn come_to_rest(&mut self) -> Result<(), Violation> {
        self.history.say(|| "--- all comes to rest".to_owned());
        for proxy in 0..self.proxies.len() {
            self.mend(proxy);
        }
        for connection in self.open.clone() {
            self.sockets[connection].is_deaf = false;
            // What has gone acknowledges nothing any more, though the server may not have seen it go.
            if self.sockets[connection].is_at_client {
                self.clients[connection].hurry();
            }
            self.carry(connection);
        }
        // The recovery hold, silence, takeovers and leases end.
        self.pass(9_000)?;
        let has_wills = self.history.connections.iter().any(|c| c.will.is_some());
        let restarted = |b| matches!(b, Broken::Storage | Broken::StorageRestarted);
        let has_moved = self.history.has_broken(|b| !restarted(b), 0, u32::MAX);
        if has_wills && has_moved {
            // `willGraceOnMove` ends.
            self.pass(32_000)?;
        }
        let rest = self.history.next();
        self.history.rest = Some(rest);
        for connection in &self.open {
            self.clients[*connection].write_down_unanswered(&mut self.history);
        }
        for client in &self.clients {
            client.write_down_acknowledged(&mut self.history);
        }
        Ok(())
    }

    /// Queued messages that storage has read back from its disk.
    pub(crate) fn loaded(&self) -> usize {
        self.storage.loaded()
    }

    /// Moves everything until nothing is on its way.
    fn settle(&mut self) -> Result<(), Violation> {
        self.laggard = None;
        for _ in 0..MOST_MOVES {
            if !self.move_something()? {
                return Ok(());
            }
        }
        Err(Violation::new("the world comes to rest", "it does not"))
    }

    /// Moves what is on its way until a client waits for nothing.
    fn move_until_answered(&mut self, connection: usize) -> Result<(), Violation> {
        for _ in 0..MOST_MOVES {
            let waits = self.sockets[connection].is_at_client && self.clients[connection].waits();
            if !waits || !self.move_something()? {
                break;
            }
        }
        Ok(())
    }

    /// Moves something of one queue. False: nothing is on its way.
    fn move_something(&mut self) -> Result<bool, Violation> {
        let chosen = self.choose_channel();
        let Some(chosen) = chosen else { return Ok(false) };
        match chosen {
            Channel::ToServer(connection) => self.bytes_to_server(connection),
            Channel::FromServer(connection) => self.bytes_from_server(connection),
            Channel::ToClient(connection) => self.bytes_to_client(connection)?,
            Channel::ToLink(proxy, worker) => self.words_to_link(proxy, worker),
            Channel::ToWorker(proxy, worker) => self.words_to_worker(proxy, worker),
            Channel::Attach(proxy) => self.attach(proxy)?,
            Channel::Operations(proxy) => self.operations_to_storage(proxy)?,
            Channel::Controls(proxy) => self.controls_to_storage(proxy)?,
            Channel::Answers(proxy) => self.answers_to_proxy(proxy)?,
            Channel::Deliveries(proxy) => self.deliveries_to_proxy(proxy)?,
            Channel::Disk => self.records_to_disk()?,
            Channel::Loads => self.rows_to_storage()?,
        }
        Ok(true)
    }

    /// One of the queues that have something to move.
    fn choose_channel(&mut self) -> Option<Channel> {
        let mut channels = std::mem::take(&mut self.channels);
        channels.clear();
        self.gather(&mut channels);
        channels.retain(|channel| Some(*channel) != self.laggard);
        let chosen = match channels.len() {
            0 => None,
            count => channels.get(self.random.below(count)).copied(),
        };
        self.channels = channels;
        chosen
    }

    fn gather(&self, channels: &mut Vec<Channel>) {
        for connection in &self.open {
            self.sockets[*connection].gather(*connection, channels);
        }
        for (number, proxy) in self.proxies.iter().enumerate() {
            proxy.gather(number, channels);
        }
        if self.storage.has_records() {
            channels.push(Channel::Disk);
        }
        if self.storage.has_loads() {
            channels.push(Channel::Loads);
        }
    }

    /// Lets time pass, stopping wherever something is due.
    fn pass(&mut self, ms: u64) -> Result<(), Violation> {
        let until = MonotonicMs(self.now.0 + ms);
        self.settle()?;
        while let Some(due) = self.next_deadline().filter(|due| *due <= until) {
            // What is overdue is done in a millisecond: time goes on.
            self.set_now(due.max(MonotonicMs(self.now.0 + 1)).min(until));
            self.tick()?;
            self.settle()?;
            if self.now >= until {
                break;
            }
        }
        self.set_now(until);
        self.tick()?;
        self.settle()
    }

    fn set_now(&mut self, now: MonotonicMs) {
        self.now = self.now.max(now);
        self.history.now_ms = self.now.0 - 1_000_000;
    }

    fn next_deadline(&self) -> Option<MonotonicMs> {
        let proxies = self.proxies.iter().filter_map(Proxy::next_deadline);
        proxies.chain(self.storage.core.next_deadline()).min()
    }

    fn tick(&mut self) -> Result<(), Violation> {
        self.storage.core.tick(self.now, &mut self.storage.out);
        self.collect_from_storage()?;
        for number in 0..self.proxies.len() {
            let proxy = &mut self.proxies[number];
            if proxy.link.tick(self.now, &mut proxy.out) {
                self.streams_lost(number);
            }
            self.after_link(number);
            for worker in 0..self.proxies[number].seats.len() {
                let seat = &mut self.proxies[number].seats[worker];
                seat.worker.tick(self.now, &mut seat.actions);
                self.after_worker(number, worker);
            }
        }
        Ok(())
    }

    /// The client's name for a worker's connection.
    fn connection_of(&self, proxy: usize, worker: usize, token: ConnectionToken) -> Option<usize> {
        let is_it = |c: &&usize| {
            let socket = &self.sockets[**c];
            (socket.proxy, socket.worker, socket.token) == (proxy, worker, token) && socket.is_at_server
        };
        self.open.iter().find(is_it).copied()
    }
}
