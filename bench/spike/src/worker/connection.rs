//! The connections of a worker: a slab of sockets with buffers that exist only while they hold something.

use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustls::ServerConfig;

use crate::tls::TlsSession;

/// The worker's read buffer: two of the largest packets, so that a kept beginning always leaves room to read.
pub(super) const READ_BUFFER_BYTES: usize = 256 << 10;
/// A client that leaves this much unread is closed.
const MAX_UNSENT_BYTES: usize = 1 << 20;
/// Slots reserved at once; address space costs nothing until it is touched.
const RESERVED_SLOTS: usize = 20_000;
/// Emptied send buffers kept for the next connection that needs one, and the largest of them.
const SPARE_BUFFERS: usize = 1024;
const SPARE_BUFFER_BYTES: usize = 16 << 10;

/// The connection is over, whoever ended it.
#[derive(Debug)]
pub(super) struct Ended;

/// One client.
pub(super) struct Connection {
    socket: OwnedFd,
    generation: u32,
    next_packet_id: u16,
    unsent: Vec<u8>,
    unparsed: Vec<u8>,
    tls: Option<Box<TlsSession>>,
}

/// What a read brought.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) token: u64,
    /// Bytes of the read buffer that hold packets, when not encrypted.
    pub(super) length: usize,
    pub(super) encrypted: bool,
    /// The read filled the buffer, so that no further edge would announce the rest.
    pub(super) may_have_more: bool,
    pub(super) has_unsent: bool,
}

/// All connections of a worker. A token is a slot with the generation of its tenant.
pub(super) struct Connections {
    slots: Vec<Option<Connection>>,
    free: Vec<u32>,
    generation: u32,
    spare: Vec<Vec<u8>>,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            slots: Vec::with_capacity(RESERVED_SLOTS),
            free: Vec::new(),
            generation: 0,
            spare: Vec::new(),
        }
    }
}

impl Connections {
    /// Gives the socket a slot and a token.
    ///
    /// # Errors
    /// When no TLS session can be made.
    pub(super) fn insert(&mut self, socket: OwnedFd, tls: Option<&Arc<ServerConfig>>) -> Result<(u32, u64), Ended> {
        let tls = match tls {
            Some(config) => Some(Box::new(TlsSession::new(config).map_err(|_| Ended)?)),
            None => None,
        };
        // All bits set would be the bell's event data, so the generation stays below the highest bit.
        self.generation = self.generation.wrapping_add(1) & (u32::MAX >> 1);
        let (generation, unsent, unparsed) = (self.generation, Vec::new(), Vec::new());
        let connection = Connection {
            socket,
            generation,
            next_packet_id: 0,
            unsent,
            unparsed,
            tls,
        };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).map_err(|_| Ended)?
            }
        };
        self.slots[slot as usize] = Some(connection);
        Ok((slot, token(slot, generation)))
    }

    pub(super) fn remove(&mut self, slot: u32) -> bool {
        let removed = self.slots.get_mut(slot as usize).and_then(Option::take).is_some();
        if removed {
            self.free.push(slot);
        }
        removed
    }

    pub(super) fn by_token(&mut self, token: u64) -> Option<(u32, &mut Connection)> {
        let slot = u32::try_from(token & u64::from(u32::MAX)).ok()?;
        let connection = self.get(slot)?;
        (u64::from(connection.generation) == token >> 32).then_some((slot, connection))
    }

    pub(super) fn socket(&self, slot: u32) -> Option<BorrowedFd<'_>> {
        Some(self.slots.get(slot as usize)?.as_ref()?.socket.as_fd())
    }

    /// Appends to what the connection will be sent, and says whether it became dirty by that.
    pub(super) fn queue(&mut self, slot: u32, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Some(connection) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else {
            return false;
        };
        let was_empty = connection.unsent.is_empty();
        if was_empty && connection.unsent.capacity() == 0 {
            connection.unsent = self.spare.pop().unwrap_or_default();
        }
        write(&mut connection.unsent);
        was_empty || connection.unsent.len() > MAX_UNSENT_BYTES
    }

    /// Sends as much as the socket takes; the rest waits for the socket's next edge.
    ///
    /// # Errors
    /// [`Ended`] when the socket is broken or too much is unsent.
    pub(super) fn flush(&mut self, slot: u32) -> Result<(), Ended> {
        let Some(connection) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else {
            return Ok(());
        };
        let Connection {
            socket, unsent, tls, ..
        } = connection;
        if let Some(tls) = tls {
            if !unsent.is_empty() {
                tls.encrypt(unsent).map_err(|_| Ended)?;
                recycle(&mut self.spare, mem::take(unsent));
            }
            if send_some(socket, &mut tls.unsent)? {
                recycle(&mut self.spare, mem::take(&mut tls.unsent));
            }
        } else if send_some(socket, unsent)? {
            recycle(&mut self.spare, mem::take(unsent));
        }
        Ok(())
    }

    /// Reads once into `buffer`, behind what was kept; with TLS the packets are in `plaintext` afterwards.
    /// `None` when there was nothing to read.
    ///
    /// # Errors
    /// [`Ended`] at the end of the stream and when socket or TLS are broken.
    pub(super) fn receive(
        &mut self,
        slot: u32,
        buffer: &mut [u8],
        plaintext: &mut Vec<u8>,
    ) -> Result<Option<Received>, Ended> {
        let Some(connection) = self.get(slot) else {
            return Ok(None);
        };
        let token = token(slot, connection.generation);
        let encrypted = connection.tls.is_some();
        let kept = connection
            .tls
            .as_ref()
            .map_or(connection.unparsed.len(), |tls| tls.undecrypted.len());
        let (kept_bytes, room) = buffer.split_at_mut_checked(kept).ok_or(Ended)?;
        let room_bytes = room.len();
        let count = match recv(&connection.socket, room, RecvFlags::empty()) {
            Ok((0, _)) => return Err(Ended),
            Ok((count, _)) => count,
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => 0,
            Err(_) => return Err(Ended),
        };
        let mut has_unsent = false;
        if let Some(tls) = &mut connection.tls {
            kept_bytes.copy_from_slice(&tls.undecrypted);
            plaintext.clear();
            plaintext.append(&mut connection.unparsed);
            tls.decrypt(&mut buffer[..kept + count], plaintext).map_err(|_| Ended)?;
            has_unsent = !tls.unsent.is_empty();
        } else {
            kept_bytes.copy_from_slice(&connection.unparsed);
        }
        let may_have_more = count == room_bytes || count == 0;
        Ok(Some(Received {
            token,
            length: kept + count,
            encrypted,
            may_have_more,
            has_unsent,
        }))
    }

    /// Keeps the beginning of a packet until the rest arrives.
    pub(super) fn keep_unparsed(&mut self, slot: u32, bytes: &[u8]) {
        if let Some(connection) = self.get(slot) {
            connection.unparsed = bytes.to_vec();
        }
    }

    fn get(&mut self, slot: u32) -> Option<&mut Connection> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }
}

impl Connection {
    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty() || self.tls.as_ref().is_some_and(|tls| !tls.unsent.is_empty())
    }

    /// The next packet id of a delivery, never 0.
    pub(super) fn next_packet_id(&mut self) -> u16 {
        self.next_packet_id = self.next_packet_id.checked_add(1).unwrap_or(1);
        self.next_packet_id
    }
}

fn token(slot: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(slot)
}

/// Sends from the front of `unsent` and says whether all of it left.
fn send_some(socket: &OwnedFd, unsent: &mut Vec<u8>) -> Result<bool, Ended> {
    if unsent.is_empty() {
        return Ok(true);
    }
    if unsent.len() > MAX_UNSENT_BYTES {
        return Err(Ended);
    }
    match send(socket, unsent, SendFlags::NOSIGNAL) {
        Ok(count) if count == unsent.len() => Ok(true),
        Ok(count) => {
            unsent.drain(..count);
            Ok(false)
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(false),
        Err(_) => Err(Ended),
    }
}

fn recycle(spare: &mut Vec<Vec<u8>>, mut buffer: Vec<u8>) {
    if buffer.capacity() > 0 && buffer.capacity() <= SPARE_BUFFER_BYTES && spare.len() < SPARE_BUFFERS {
        buffer.clear();
        spare.push(buffer);
    }
}
