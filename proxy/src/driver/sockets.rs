//! A worker's sockets: an edge-triggered epoll set and a table with the indexes of the core's connections.
//!
//! Used by [`super::turn`]. Holds what only the shell knows of a connection: its descriptor, whether the socket took
//! all that was written, whether it is to be read again without an event. Leaves out what the bytes mean.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use freshet_proxy_core::worker::ConnectionToken;
use freshet_storage_contract::MonotonicMs;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::lingering::Lingering;
use crate::capacity::ConnectionPermit;

/// Events taken from the epoll set at once.
const EVENTS_PER_WAIT: usize = 256;
/// The event data of the bell. The slot in it is beyond every table.
const BELL: u64 = u64::MAX;
/// Event data of lingering sockets: this and their index. Beyond every table's slots, too.
const LINGERING: u64 = u64::MAX - u32::MAX as u64 / 2;
/// Only looks: the runtime does the waiting.
const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// The socket of one connection.
#[derive(Debug)]
pub(super) struct Socket {
    descriptor: OwnedFd,
    token: ConnectionToken,
    /// Counts the connection until it is dropped.
    _permit: ConnectionPermit,
    /// The socket did not take all: the rest waits for its edge.
    pub(super) is_blocked: bool,
    /// The core does not want to be given more.
    pub(super) is_paused: bool,
    /// The connection is in the list of those to be read again.
    is_listed: bool,
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// The peer sends no more.
    EndOfStream,
    /// The connection is broken.
    Broken,
}

/// What a write achieved.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// So many bytes, perhaps fewer than offered.
    Bytes(usize),
    /// The socket takes no more now.
    Blocked,
    /// The connection is broken.
    Broken,
}

/// What an event is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ready {
    /// A mailbox.
    Bell,
    /// A connection of the core.
    Connection(ConnectionToken, epoll::EventFlags),
    /// A socket whose connection has ended.
    Lingering(usize),
}

/// All sockets of a worker.
pub(super) struct Sockets {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    /// By slot of the token.
    table: Vec<Option<Socket>>,
    /// Connections to be read in the next turn without an event.
    listed: Vec<ConnectionToken>,
    pub(super) lingering: Lingering,
}

impl Sockets {
    /// An epoll set that holds the bell alone.
    pub(super) fn new(bell: BorrowedFd<'_>) -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, bell, epoll::EventData::new_u64(BELL), edges)?;
        Ok(Self {
            epoll,
            events: Vec::with_capacity(EVENTS_PER_WAIT),
            table: Vec::new(),
            listed: Vec::new(),
            lingering: Lingering::default(),
        })
    }

    /// The epoll set, for whoever waits for it.
    pub(super) fn epoll(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Takes what is ready into `ready`, and says whether there may be more.
    pub(super) fn take_ready(&mut self, ready: &mut Vec<Ready>) -> std::io::Result<bool> {
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&NO_WAIT)) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
        ready.extend(self.events.iter().map(|event| match event.data.u64() {
            BELL => Ready::Bell,
            data if data >= LINGERING => Ready::Lingering(usize::try_from(data - LINGERING).unwrap_or(usize::MAX)),
            data => Ready::Connection(ConnectionToken::from_u64(data), event.flags),
        }));
        Ok(self.events.len() == EVENTS_PER_WAIT)
    }

    /// Begins to watch the socket of a connection.
    pub(super) fn watch(
        &mut self,
        token: ConnectionToken,
        descriptor: OwnedFd,
        permit: ConnectionPermit,
    ) -> std::io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(
            &self.epoll,
            &descriptor,
            epoll::EventData::new_u64(token.to_u64()),
            flags,
        )?;
        let slot = token.slot() as usize;
        if self.table.len() <= slot {
            self.table.resize_with(slot + 1, || None);
        }
        self.table[slot] = Some(Socket {
            descriptor,
            token,
            _permit: permit,
            is_blocked: false,
            is_paused: false,
            is_listed: false,
        });
        Ok(())
    }

    /// The socket of a connection, unless it has been closed.
    pub(super) fn get(&mut self, token: ConnectionToken) -> Option<&mut Socket> {
        let socket = self.table.get_mut(token.slot() as usize)?.as_mut()?;
        (socket.token == token).then_some(socket)
    }

    /// Closes the socket of a connection. With `last_words` sent just before, the socket lingers until the peer has
    /// closed its side: closing over unread bytes would reset the connection and take the words back.
    pub(super) fn close(&mut self, token: ConnectionToken, last_words: bool, now: MonotonicMs) {
        let Some(socket) = self
            .table
            .get_mut(token.slot() as usize)
            .and_then(|s| s.take_if(|s| s.token == token))
        else {
            return;
        };
        if !last_words || shutdown(&socket.descriptor, Shutdown::Write).is_err() {
            return;
        }
        if let Some((index, descriptor)) = self.lingering.add(socket.descriptor, now) {
            let data = epoll::EventData::new_u64(LINGERING + index as u64);
            let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
            // Modifying a watched descriptor reports it again if it is ready, so nothing is missed. If it fails the
            // socket is closed when its time is over.
            let _ = epoll::modify(&self.epoll, descriptor, data, flags);
        }
    }

    /// Has the connection read in the next turn, whatever its events say.
    pub(super) fn list(&mut self, token: ConnectionToken) {
        let Some(socket) = self.get(token) else { return };
        if !std::mem::replace(&mut socket.is_listed, true) {
            self.listed.push(token);
        }
    }

    /// Whether a connection waits to be read without an event.
    pub(super) fn has_listed(&self) -> bool {
        !self.listed.is_empty()
    }

    /// Takes the connections that [`Self::list`] named, in exchange for an empty vector.
    pub(super) fn take_listed(&mut self, into: &mut Vec<ConnectionToken>) {
        into.clear();
        std::mem::swap(&mut self.listed, into);
        for token in into.iter() {
            if let Some(socket) = self.get(*token) {
                socket.is_listed = false;
            }
        }
    }
}

impl Socket {
    /// Reads once.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Read {
        loop {
            return match recv(&self.descriptor, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => Read::EndOfStream,
                Ok((count, _)) => Read::Bytes(count),
                Err(Errno::AGAIN) => Read::Nothing,
                Err(Errno::INTR) => continue,
                Err(_) => Read::Broken,
            };
        }
    }

    /// Writes once.
    pub(super) fn write(&self, bytes: &[u8]) -> Written {
        written(|| send(&self.descriptor, bytes, SendFlags::NOSIGNAL))
    }

    /// Writes several pieces at once, which costs the system more than one does.
    pub(super) fn write_slices(&self, slices: &[IoSlice<'_>]) -> Written {
        written(|| rustix::io::writev(&self.descriptor, slices))
    }
}

/// Writes again when a signal came in between.
fn written(write: impl Fn() -> rustix::io::Result<usize>) -> Written {
    loop {
        return match write() {
            Ok(count) => Written::Bytes(count),
            Err(Errno::AGAIN) => Written::Blocked,
            Err(Errno::INTR) => continue,
            Err(_) => Written::Broken,
        };
    }
}
