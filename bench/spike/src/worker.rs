//! The part of the proxy that both drivers share: a worker that owns connections, and the steps of its turn.
//!
//! A driver decides only how a worker waits and how its batches reach storage. A turn is: [`Worker::poll_sockets`] and
//! [`Worker::receive`] in whatever order things became ready, [`Worker::open_mail`], [`Worker::finish_turn`], then
//! [`Worker::take_batch`]. Leaves out what MQTT needs beyond the measurements (sessions, keep-alive, limits per client).

mod connection;
mod delivery;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustls::ServerConfig;

use crate::batch::{self, Batch, Record};
use crate::counters::{Counters, Tally};
use crate::filters::{Filters, Receiver};
use crate::mailbox::{Address, Confirmation, Mail, Mailbox};
use connection::{Connections, Ended, READ_BUFFER_BYTES};
use freshet_bench_load::wire::{self, Packet};

/// Events taken from the epoll set at once.
const EVENTS_PER_WAIT: usize = 256;
/// A worker whose batch grew to this, because storage does not take it, stops reading.
const STALLED_BATCH_BYTES: usize = 4 << 20;
/// Room of a fresh batch: what a busy turn collects.
const BATCH_BYTES: usize = 64 << 10;
/// The event data of the mailbox's bell; no connection's token has all bits set.
const BELL: u64 = u64::MAX;

/// What a worker is given at its start.
pub(crate) struct Parts {
    pub(crate) index: usize,
    /// Addresses of all workers, this one included, by index.
    pub(crate) workers: Vec<Address>,
    pub(crate) mailbox: Mailbox,
    /// Connections dealt to this worker and still open.
    pub(crate) open_connections: Arc<AtomicUsize>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// One thread's share of the proxy.
pub(crate) struct Worker {
    parts: Parts,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    connections: Connections,
    filters: Filters,
    read_buffer: Vec<u8>,
    plaintext: Vec<u8>,
    /// Connections with bytes to send.
    dirty: Vec<u32>,
    /// Connections whose socket may hold more than was read.
    more: Vec<u32>,
    /// Records of this turn for storage.
    records: BytesMut,
    /// Mail that found a full mailbox, by worker.
    unposted: Vec<VecDeque<Mail>>,
    /// Scratch of the delivery: offsets for other workers, and the two encodings of a PUBLISH.
    crossing: Vec<Vec<usize>>,
    frames: [Vec<u8>; 2],
    tally: Tally,
}

impl Worker {
    /// Creates the worker and its epoll set.
    ///
    /// # Errors
    /// When the epoll set cannot be made.
    pub(crate) fn new(parts: Parts) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, parts.mailbox.bell(), epoll::EventData::new_u64(BELL), edges)?;
        let workers = parts.workers.len();
        Ok(Self {
            parts,
            epoll,
            events: Vec::with_capacity(EVENTS_PER_WAIT),
            connections: Connections::default(),
            filters: Filters::default(),
            read_buffer: vec![0; READ_BUFFER_BYTES],
            plaintext: Vec::new(),
            dirty: Vec::new(),
            more: Vec::new(),
            records: BytesMut::with_capacity(BATCH_BYTES),
            unposted: (0..workers).map(|_| VecDeque::new()).collect(),
            crossing: vec![Vec::new(); workers],
            frames: [Vec::new(), Vec::new()],
            tally: Tally::default(),
        })
    }

    /// The epoll set that holds all sockets and the mailbox's bell.
    pub(crate) fn epoll(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Says whether the next turn has work that no event will announce.
    pub(crate) fn must_go_on(&self) -> bool {
        let can_read = !self.more.is_empty() && !self.is_stalled();
        can_read || !self.unposted.iter().all(VecDeque::is_empty)
    }

    /// Says whether the worker may wait without a limit; until [`Self::wake_up`] others ring its bell.
    pub(crate) fn fall_asleep(&self) -> bool {
        !self.must_go_on() && self.parts.mailbox.fall_asleep()
    }

    /// Ends what [`Self::fall_asleep`] began, so that nobody rings the bell of a worker that is awake.
    pub(crate) fn wake_up(&self) {
        self.parts.mailbox.wake_up();
    }

    /// Waits for sockets, reads those that are ready, and says whether the set may hold more events than were taken.
    ///
    /// # Errors
    /// When the epoll set itself fails.
    pub(crate) fn poll_sockets(&mut self, timeout: Option<&Timespec>) -> io::Result<bool> {
        for slot in mem::take(&mut self.more) {
            self.read(slot);
        }
        let mut events = mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let full = events.len() == EVENTS_PER_WAIT;
        for event in &events {
            self.on_event(event.data.u64(), event.flags);
        }
        self.events = events;
        Ok(full)
    }

    /// Handles everything in the mailbox.
    pub(crate) fn open_mail(&mut self) {
        while let Some(mail) = self.parts.mailbox.take() {
            match mail {
                Mail::Connection(socket) => self.adopt(socket),
                Mail::Returned(batch) => self.receive(&batch),
                Mail::Deliver { records, offsets } => self.deliver_at(&records, &offsets),
                Mail::Interest {
                    filter,
                    worker,
                    confirmation,
                } => self.note_interest(&filter, worker, &confirmation),
                Mail::Subscribed { token, packet_id, qos } => self.send_suback(token, packet_id, qos),
            }
        }
    }

    /// Sends what the turn left on connections and hands other workers their part.
    pub(crate) fn finish_turn(&mut self) {
        for worker in 0..self.crossing.len() {
            self.post_waiting(worker);
        }
        let mut dirty = mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            if self.connections.flush(slot).is_err() {
                self.end(slot);
            }
        }
        self.dirty = dirty;
        self.tally.turns += 1;
        self.parts.counters.publish(&self.tally);
    }

    /// Says whether the turn left something for storage.
    pub(crate) fn has_batch(&self) -> bool {
        !self.records.is_empty()
    }

    /// The turn's publishes; for a driver that has room for them.
    pub(crate) fn take_batch(&mut self) -> Batch {
        self.tally.batches += 1;
        let records = self.records.split().freeze();
        if self.records.capacity() < BATCH_BYTES / 4 {
            self.records.reserve(BATCH_BYTES);
        }
        Batch {
            records,
            reason_codes: Bytes::new(),
        }
    }

    /// While the batch is over its bound nothing more is read; storage's answers, which free room, still are.
    fn is_stalled(&self) -> bool {
        self.records.len() >= STALLED_BATCH_BYTES
    }

    fn on_event(&mut self, token: u64, flags: epoll::EventFlags) {
        if token == BELL {
            return;
        }
        let Some((slot, connection)) = self.connections.by_token(token) else {
            return;
        };
        if flags.contains(epoll::EventFlags::OUT) && connection.has_unsent() {
            self.dirty.push(slot);
        }
        let hung_up = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        if flags.intersects(epoll::EventFlags::IN | hung_up) {
            self.read(slot);
        }
        if flags.intersects(hung_up) {
            // The end of the stream may stand behind the bytes just read, and brings no edge of its own.
            self.more.push(slot);
        }
    }

    fn adopt(&mut self, socket: OwnedFd) {
        let Ok((slot, token)) = self.connections.insert(socket, self.parts.tls.as_ref()) else {
            self.parts.open_connections.fetch_sub(1, Ordering::Relaxed);
            return;
        };
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        let added = self.connections.socket(slot).map(|socket| {
            let data = epoll::EventData::new_u64(token);
            epoll::add(&self.epoll, socket, data, flags)
        });
        if !matches!(added, Some(Ok(()))) {
            self.end(slot);
        }
    }

    fn end(&mut self, slot: u32) {
        if self.connections.remove(slot) {
            self.parts.open_connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn read(&mut self, slot: u32) {
        if self.is_stalled() {
            self.more.push(slot);
            return;
        }
        let mut buffer = mem::take(&mut self.read_buffer);
        let mut plaintext = mem::take(&mut self.plaintext);
        let result = self.read_into(slot, &mut buffer, &mut plaintext);
        self.read_buffer = buffer;
        self.plaintext = plaintext;
        if result.is_err() {
            self.end(slot);
        }
    }

    fn read_into(&mut self, slot: u32, buffer: &mut [u8], plaintext: &mut Vec<u8>) -> Result<(), Ended> {
        let Some(received) = self.connections.receive(slot, buffer, plaintext)? else {
            return Ok(());
        };
        if received.may_have_more {
            self.more.push(slot);
        }
        if received.has_unsent {
            self.dirty.push(slot);
        }
        let bytes = if received.encrypted {
            &plaintext[..]
        } else {
            &buffer[..received.length]
        };
        let mut consumed = 0;
        while let Some((packet, size)) = wire::decode(&bytes[consumed..]).map_err(|_| Ended)? {
            self.on_packet(slot, received.token, &packet)?;
            consumed += size;
        }
        self.connections.keep_unparsed(slot, &bytes[consumed..]);
        Ok(())
    }

    fn on_packet(&mut self, slot: u32, token: u64, packet: &Packet<'_>) -> Result<(), Ended> {
        match *packet {
            Packet::Publish {
                qos: 0 | 1,
                topic,
                packet_id,
                payload,
            } => {
                batch::append(
                    &mut self.records,
                    &Record {
                        publisher: token,
                        packet_id,
                        topic,
                        payload,
                    },
                );
                self.tally.published += 1;
            }
            Packet::PubAck { .. } => {}
            Packet::Connect => self.queue(slot, |out| out.extend_from_slice(&wire::CONNACK)),
            Packet::PingReq => self.queue(slot, |out| out.extend_from_slice(&wire::PINGRESP)),
            Packet::Subscribe { packet_id, filter, qos } => self.subscribe(token, packet_id, filter, qos),
            _ => return Err(Ended),
        }
        Ok(())
    }

    fn queue(&mut self, slot: u32, write: impl FnOnce(&mut Vec<u8>)) {
        if self.connections.queue(slot, write) {
            self.dirty.push(slot);
        }
    }

    fn subscribe(&mut self, token: u64, packet_id: u16, filter: &[u8], qos: u8) {
        self.filters.subscribe(filter, Receiver { token, qos });
        let others = self.parts.workers.len() - 1;
        if others == 0 {
            self.send_suback(token, packet_id, qos);
            return;
        }
        let confirmation = Confirmation {
            token,
            packet_id,
            qos,
            missing: Arc::new(AtomicUsize::new(others)),
        };
        let own = self.parts.index;
        for other in (0..=others).filter(|&other| other != own) {
            let (filter, confirmation) = (filter.into(), confirmation.clone());
            self.post(
                other,
                Mail::Interest {
                    filter,
                    worker: own,
                    confirmation,
                },
            );
        }
    }

    fn note_interest(&mut self, filter: &[u8], worker: usize, confirmation: &Confirmation) {
        self.filters.note_worker(filter, worker);
        if confirmation.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            let Confirmation {
                token, packet_id, qos, ..
            } = *confirmation;
            self.post(worker, Mail::Subscribed { token, packet_id, qos });
        }
    }

    fn send_suback(&mut self, token: u64, packet_id: u16, qos: u8) {
        if let Some((slot, _)) = self.connections.by_token(token) {
            self.queue(slot, |out| wire::encode_suback(out, packet_id, qos));
        }
    }

    fn post(&mut self, worker: usize, mail: Mail) {
        self.unposted[worker].push_back(mail);
        self.post_waiting(worker);
    }

    fn post_waiting(&mut self, worker: usize) {
        while let Some(mail) = self.unposted[worker].pop_front() {
            match self.parts.workers[worker].post(mail) {
                Ok(rang) => self.tally.bells += u64::from(rang),
                Err(mail) => return self.unposted[worker].push_front(mail),
            }
        }
    }
}
