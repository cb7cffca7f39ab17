//! One worker's turn: what was ready goes through the core, and what the core wants done is done.
//!
//! Called by [`super`], which decides when a turn begins. A turn reads the clock twice, whatever it brings: at its
//! beginning, for everything that happens in it, and at its end, for how long it took.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::task::Context;

use freshet_proxy_core::exchange::{ToLink, ToWorker, WorkerId};
use freshet_proxy_core::keep_little;
use freshet_proxy_core::worker::{Actions, ConnectionToken, PeerClose, Received, Worker};
use freshet_storage_contract::MonotonicMs;
use rustix::event::epoll::EventFlags;
use tokio::sync::mpsc;

use super::report::{TurnSeconds, WorkerReport};
use super::seat::{Seat, earliest};
use super::sockets::{Read, Ready, Socket, Sockets, Written};
use crate::control::{AcceptedConnection, Control};
use crate::facts::FactLog;
use crate::listeners::ListenerNames;

/// The thread's read buffer. A read that fills it is followed by another one in the next turn.
const READ_BUFFER_BYTES: usize = 64 << 10;
/// Bytes handed to a socket at once.
const WRITE_BYTES: usize = 256 << 10;
/// Slices handed to a socket at once, far below what the kernel takes.
const WRITE_SLICES: usize = 64;
/// Exchanges with the link within a turn; where both still have something to say, they say it in the next.
const EXCHANGES_PER_TURN: usize = 2;

/// Letters read in a turn: a flood of connections does not keep those that are there waiting.
const LETTERS_PER_TURN: usize = 256;

/// Whether the thread goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// The next turn.
    Continue,
    /// The worker's thread ends.
    Stop,
}

/// A worker's state machine with its sockets and mailboxes.
pub(super) struct Turn {
    id: WorkerId,
    worker: Worker,
    sockets: Sockets,
    seat: Seat,
    control: mpsc::Receiver<Control>,
    listener_names: ListenerNames,
    actions: Actions,
    facts: FactLog,
    turns: TurnSeconds,
    flow: Flow,
    /// The link had more to say when the turn ended.
    exchange_goes_on: bool,
    /// More sockets were ready than the turn has taken up.
    sockets_wait: bool,
    /// When sockets were looked at last that had nothing else for the worker.
    seen_empty: MonotonicMs,
    // Scratch, empty between uses.
    read_buffer: Vec<u8>,
    ready: Vec<Ready>,
    tokens: Vec<ConnectionToken>,
    dirty: Vec<ConnectionToken>,
    from_link: Vec<ToWorker>,
    to_link: Vec<ToLink>,
}

impl Turn {
    pub(super) fn new(
        id: WorkerId,
        worker: Worker,
        sockets: Sockets,
        seat: Seat,
        control: mpsc::Receiver<Control>,
        listener_names: ListenerNames,
    ) -> Self {
        Self {
            id,
            worker,
            sockets,
            seat,
            control,
            listener_names,
            actions: Actions::default(),
            facts: FactLog::default(),
            turns: TurnSeconds::default(),
            flow: Flow::Continue,
            exchange_goes_on: false,
            sockets_wait: false,
            seen_empty: MonotonicMs(0),
            read_buffer: vec![0; READ_BUFFER_BYTES],
            ready: Vec::new(),
            tokens: Vec::new(),
            dirty: Vec::new(),
            from_link: Vec::new(),
            to_link: Vec::new(),
        }
    }

    pub(super) fn epoll(&self) -> BorrowedFd<'_> {
        self.sockets.epoll()
    }

    /// Lets the link hear what storage has sent. Returns whether there was anything.
    pub(super) fn poll_storage(&mut self, cx: &mut Context<'_>, now: MonotonicMs) -> bool {
        self.seat.poll(cx, now)
    }

    /// Looks again, on a thread that has not slept since.
    pub(super) fn wake_up(&mut self, awake_since: MonotonicMs, now: MonotonicMs) {
        self.worker
            .read_what_came_since(self.seen_empty.max(awake_since).min(now));
    }

    /// The epoll set has nothing.
    pub(super) fn nothing_is_ready(&mut self, now: MonotonicMs) {
        self.seen_empty = now;
    }

    /// Reads what the epoll set says is ready, and says whether the set may hold more.
    pub(super) fn read_ready(&mut self, now: MonotonicMs) -> std::io::Result<bool> {
        let mut ready = std::mem::take(&mut self.ready);
        let may_hold_more = self.sockets.take_ready(&mut ready);
        self.sockets_wait = matches!(may_hold_more, Ok(true));
        if !self.sockets_wait {
            self.seen_empty = now;
        }
        for event in ready.drain(..) {
            match event {
                Ready::Bell => {}
                Ready::Connection(token, flags) => self.on_event(token, flags, now),
                Ready::Lingering(index) => self.sockets.lingering.on_ready(index, &mut self.read_buffer),
            }
        }
        self.ready = ready;
        may_hold_more
    }

    /// Whether there is work that neither the epoll set nor a timer announces.
    pub(super) fn must_go_on(&self) -> bool {
        self.exchange_goes_on
            || self.worker.must_go_on()
            || (self.sockets.has_listed() && self.worker.read_budget_bytes() > 0)
            || !self.dirty.is_empty()
            || !self.actions.to_link.is_empty()
            || !self.actions.close.is_empty()
    }

    /// Whether mail came that no bell has announced. Looked at after falling asleep.
    pub(super) fn has_mail(&self) -> bool {
        !self.control.is_empty() || self.control.is_closed() || self.seat.has_mail()
    }

    /// The earliest moment at which a turn has something to do by itself.
    pub(super) fn next_deadline(&self) -> Option<MonotonicMs> {
        let own = earliest(self.worker.next_deadline(), self.sockets.lingering.next_deadline());
        earliest(own, self.seat.next_deadline())
    }

    /// Everything of a turn behind the reading of sockets that had an event.
    pub(super) fn run(&mut self, now: MonotonicMs) -> Flow {
        self.worker.begin_turn(std::mem::take(&mut self.sockets_wait));
        self.read_listed(now);
        self.read_control(now);
        if self.worker.next_deadline().is_some_and(|at| at <= now) {
            self.worker.tick(now, &mut self.actions);
        }
        self.sockets.lingering.tick(now);
        self.exchange(now);
        self.write_dirty(now);
        self.close_ended(now);
        for token in self.actions.resume_reading.drain(..) {
            if let Some(socket) = self.sockets.get(token) {
                socket.is_paused = false;
                self.sockets.list(token);
            }
        }
        for fact in self.actions.facts.drain(..) {
            self.facts.write(&fact, |index| self.listener_names.get(index), now);
        }
        self.flow
    }

    /// Counts a turn's duration.
    pub(super) fn observe(&mut self, duration: std::time::Duration) {
        self.turns.observe(duration);
    }

    fn on_event(&mut self, token: ConnectionToken, flags: EventFlags, now: MonotonicMs) {
        let hung_up = EventFlags::HUP | EventFlags::ERR;
        let Some(socket) = self.sockets.get(token) else { return };
        if flags.contains(EventFlags::OUT) && std::mem::take(&mut socket.is_blocked) {
            self.dirty.push(token);
        }
        if socket.is_paused {
            if flags.intersects(hung_up) {
                // Nobody is there to be answered any more, and what the socket holds will come again.
                self.end_by_peer(token, PeerClose::Error, now);
            }
            return;
        }
        if flags.intersects(EventFlags::IN | EventFlags::RDHUP | hung_up) {
            self.read(token, now);
        }
        if flags.intersects(EventFlags::RDHUP | hung_up) {
            // The end of the stream stands behind the bytes just read and brings no edge of its own.
            self.sockets.list(token);
        }
    }

    fn read_listed(&mut self, now: MonotonicMs) {
        if !self.sockets.has_listed() {
            return;
        }
        let mut tokens = std::mem::take(&mut self.tokens);
        self.sockets.take_listed(&mut tokens);
        for token in tokens.drain(..) {
            self.read(token, now);
        }
        self.tokens = tokens;
    }

    fn read(&mut self, token: ConnectionToken, now: MonotonicMs) {
        let Some(socket) = self.sockets.get(token) else { return };
        if socket.is_paused {
            return;
        }
        let budget = self.worker.read_budget_bytes().min(self.read_buffer.len());
        if budget == 0 {
            // There is room again when publications are answered, which begins a turn.
            self.sockets.list(token);
            return;
        }
        let buffer = self.read_buffer.get_mut(..budget).unwrap_or_default();
        match socket.read(buffer) {
            Read::Nothing => {}
            Read::EndOfStream => self.end_by_peer(token, PeerClose::EndOfStream, now),
            Read::Broken => self.end_by_peer(token, PeerClose::Error, now),
            Read::Bytes(count) => {
                let bytes = buffer.get(..count).unwrap_or_default();
                match self.worker.receive(token, bytes, now, &mut self.actions) {
                    Received::Continue if count == budget => self.sockets.list(token),
                    Received::Continue => {}
                    // Whatever is left in the socket is read when the core resumes, or never.
                    Received::PauseReading | Received::Close => {
                        if let Some(socket) = self.sockets.get(token) {
                            socket.is_paused = true;
                        }
                    }
                }
            }
        }
    }

    /// The peer has ended the connection, or its socket has failed.
    fn end_by_peer(&mut self, token: ConnectionToken, how: PeerClose, now: MonotonicMs) {
        self.worker.peer_closed(token, how, now, &mut self.actions);
        self.sockets.close(token, false, now);
    }

    fn read_control(&mut self, now: MonotonicMs) {
        for _ in 0..LETTERS_PER_TURN {
            match self.control.try_recv() {
                Ok(Control::Connection(connection)) => self.adopt(connection, now),
                Ok(Control::Reload(config)) => {
                    self.seat.reload(&config, now);
                    self.worker.reload(config);
                }
                Ok(Control::CloseListener(index)) => self.worker.close_listener(index, now, &mut self.actions),
                Ok(Control::Drain(pace)) => self.worker.begin_drain(pace, now, &mut self.actions),
                Ok(Control::Move(pace)) => self.worker.move_clients(*pace, now, &mut self.actions),
                Ok(Control::EndMoves) => self.worker.end_moves(now, &mut self.actions),
                Ok(Control::Count(total)) => self.seat.count(*total),
                Ok(Control::Report(reply)) => {
                    // Who asked may have given up waiting.
                    let _ = reply.send(self.report(now));
                }
                Ok(Control::Stop) | Err(mpsc::error::TryRecvError::Disconnected) => {
                    self.flow = Flow::Stop;
                    return;
                }
                Err(mpsc::error::TryRecvError::Empty) => return,
            }
        }
    }

    fn adopt(&mut self, connection: AcceptedConnection, now: MonotonicMs) {
        let AcceptedConnection {
            descriptor,
            peer,
            permit,
        } = connection;
        if permit.listener().is_removed() {
            return;
        }
        let index = permit.listener().index;
        // A refusal is counted by the core.
        let Ok(token) = self.worker.accept(index, peer, now, &mut self.actions) else {
            return;
        };
        if let Err(error) = self.sockets.watch(token, descriptor, permit) {
            tracing::error!(%error, "a connection cannot be watched");
            self.worker.peer_closed(token, PeerClose::Error, now, &mut self.actions);
        }
    }

    /// Carries events between the worker and the link until both are done or it is time for sockets again.
    fn exchange(&mut self, now: MonotonicMs) {
        self.exchange_goes_on = false;
        for round in 0..=EXCHANGES_PER_TURN {
            self.seat.take_events(&mut self.from_link);
            let nothing_came = self.from_link.is_empty();
            if round > 0 && nothing_came {
                return;
            }
            for event in self.from_link.drain(..) {
                self.worker.handle(event, now, &mut self.actions);
            }
            self.worker.finish_turn(now, &mut self.actions);
            std::mem::swap(&mut self.actions.to_link, &mut self.to_link);
            self.seat.carry(self.id, &mut self.to_link, now);
            self.to_link.clear();
            keep_little(&mut self.to_link);
            keep_little(&mut self.from_link);
        }
        self.exchange_goes_on = true;
    }

    fn write_dirty(&mut self, now: MonotonicMs) {
        // Writing makes room, and room may let the core queue more for the same connection.
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.append(&mut self.actions.dirty);
        for token in dirty.drain(..) {
            self.write(token, now);
        }
        self.dirty = dirty;
        self.dirty.append(&mut self.actions.dirty);
    }

    /// Writes what the connection has until the socket takes no more; returns whether anything was written.
    fn write(&mut self, token: ConnectionToken, now: MonotonicMs) -> bool {
        let mut wrote = false;
        loop {
            let Some(socket) = self.sockets.get(token) else {
                return wrote;
            };
            if socket.is_blocked {
                return wrote;
            }
            let output = self.worker.pending_output(token, WRITE_BYTES, now);
            let offered = output.len();
            if offered == 0 {
                return wrote;
            }
            let written = {
                let mut slices = output.slices();
                match (slices.next(), slices.next()) {
                    (Some(only), None) => socket.write(only),
                    _ => write_slices(socket, output.slices()),
                }
            };
            match written {
                Written::Bytes(count) => {
                    wrote = true;
                    self.worker.written(token, count, now, &mut self.actions);
                    // It took all there was. What comes after that names the connection again.
                    if count == offered && !self.worker.has_output(token) {
                        return wrote;
                    }
                }
                Written::Blocked => {
                    socket.is_blocked = true;
                    self.worker.written(token, 0, now, &mut self.actions);
                    return wrote;
                }
                Written::Broken => {
                    self.worker.written(token, 0, now, &mut self.actions);
                    self.end_by_peer(token, PeerClose::Error, now);
                    return wrote;
                }
            }
        }
    }

    fn close_ended(&mut self, now: MonotonicMs) {
        let mut ended = std::mem::take(&mut self.tokens);
        ended.append(&mut self.actions.close);
        for token in ended.drain(..) {
            let last_words = self.write(token, now);
            self.sockets.close(token, last_words, now);
            self.worker.closed(token, now, &mut self.actions);
        }
        self.tokens = ended;
    }

    fn report(&self, now: MonotonicMs) -> WorkerReport {
        let (unposted, link) = self.seat.report(now);
        WorkerReport {
            worker: self.worker.stats().clone(),
            round_trips: Box::new(self.worker.round_trips(now)),
            newest_round_trips: Box::new(self.worker.newest_round_trips(now)),
            connacks: Box::new(self.worker.connacks(now)),
            turns: self.turns.clone(),
            unposted,
            lingering: self.sockets.lingering.len(),
            unlogged: self.facts.unlogged(),
            is_drained: self.worker.is_drained(),
            link,
        }
    }
}

/// Hands several pieces to a socket at once.
fn write_slices<'a>(socket: &Socket, pieces: impl Iterator<Item = &'a [u8]>) -> Written {
    let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
    let mut used = 0;
    for (slot, bytes) in slices.iter_mut().zip(pieces) {
        *slot = IoSlice::new(bytes);
        used += 1;
    }
    socket.write_slices(slices.get(..used).unwrap_or_default())
}
