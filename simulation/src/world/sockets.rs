//! The connections between clients and workers: bytes on their way, and how either side ends them.

use std::collections::VecDeque;

use freshet_proxy_core::worker::{ConnectionToken, PeerClose, Received};

use super::{Channel, World};
use crate::history::How;
use crate::violation::Violation;

/// Bytes that a worker offers to a socket at once.
const OFFERED_BYTES: usize = 4 << 10;

/// One connection.
pub(super) struct Socket {
    pub(super) proxy: usize,
    pub(super) worker: usize,
    pub(super) token: ConnectionToken,
    /// The worker knows the connection.
    pub(super) is_at_server: bool,
    /// The client has not ended the connection.
    pub(super) is_at_client: bool,
    to_server: Vec<u8>,
    /// The client has ended the connection behind these bytes.
    client_end: Option<PeerClose>,
    to_client: Written,
    /// The server has ended the connection behind these bytes.
    server_end: Option<How>,
    /// The worker has something to write.
    pub(super) is_dirty: bool,
    /// The worker does not want to read.
    pub(super) is_paused: bool,
    /// The client does not read.
    pub(super) is_deaf: bool,
}

/// Bytes of a worker that the client has not read, in parts that were written at one time.
#[derive(Default)]
struct Written {
    /// With the world's time then, ms.
    parts: VecDeque<(u64, Vec<u8>)>,
}

impl Written {
    fn len(&self) -> usize {
        self.parts.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    fn push(&mut self, now_ms: u64, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.parts.push_back((now_ms, bytes));
        }
    }

    /// Takes up to `count` bytes of the first part.
    fn take(&mut self, count: usize) -> Option<(u64, Vec<u8>)> {
        let (written_ms, mut bytes) = self.parts.pop_front()?;
        let rest = bytes.split_off(count.min(bytes.len()));
        if !rest.is_empty() {
            self.parts.push_front((written_ms, rest));
        }
        Some((written_ms, bytes))
    }
}

impl Socket {
    pub(super) fn new(proxy: usize, worker: usize, token: ConnectionToken) -> Self {
        Self {
            proxy,
            worker,
            token,
            is_at_server: true,
            is_at_client: true,
            to_server: Vec::new(),
            client_end: None,
            to_client: Written::default(),
            server_end: None,
            is_dirty: false,
            is_paused: false,
            is_deaf: false,
        }
    }

    pub(super) fn gather(&self, connection: usize, channels: &mut Vec<Channel>) {
        let has_bytes = !self.to_server.is_empty() && !self.is_paused;
        if self.is_at_server && (has_bytes || self.has_reached_end()) {
            channels.push(Channel::ToServer(connection));
        }
        if self.is_at_server && self.is_dirty {
            channels.push(Channel::FromServer(connection));
        }
        if self.is_at_client && !self.is_deaf && (!self.to_client.is_empty() || self.server_end.is_some()) {
            channels.push(Channel::ToClient(connection));
        }
    }

    /// The worker sees next that the client has gone. The end of a stream is read like bytes, a reset comes by itself.
    fn has_reached_end(&self) -> bool {
        match self.client_end {
            Some(PeerClose::EndOfStream) => self.to_server.is_empty() && !self.is_paused,
            Some(PeerClose::Error) => true,
            None => false,
        }
    }

    /// Nothing will happen on it any more.
    fn is_over(&self) -> bool {
        !self.is_at_server && !self.is_at_client
    }
}

impl World {
    /// Takes over what a client wants to send.
    pub(super) fn carry(&mut self, connection: usize) {
        let socket = &mut self.sockets[connection];
        let outgoing = &mut self.clients[connection].outgoing;
        if socket.is_at_client && socket.server_end.is_none() {
            socket.to_server.append(outgoing);
        } else {
            outgoing.clear();
        }
    }

    pub(super) fn bytes_to_server(&mut self, connection: usize) {
        let socket = &mut self.sockets[connection];
        let (proxy, worker, token) = (socket.proxy, socket.worker, socket.token);
        let seat = &mut self.proxies[proxy].seats[worker];
        if socket.has_reached_end() {
            let end = socket.client_end.take().unwrap_or(PeerClose::Error);
            socket.is_at_server = false;
            seat.worker.peer_closed(token, end, self.now, &mut seat.actions);
            self.after_worker(proxy, worker);
            self.forget_sockets();
            return;
        }
        let count = match self.random.below(3) {
            0 => 1 + self.random.below(socket.to_server.len()),
            _ => socket.to_server.len(),
        };
        let bytes: Vec<u8> = socket.to_server.drain(..count).collect();
        if socket.to_server.is_empty() && socket.client_end == Some(PeerClose::EndOfStream) {
            self.history.all_read(connection);
        }
        match seat.worker.receive(token, &bytes, self.now, &mut seat.actions) {
            Received::Continue => {}
            Received::PauseReading => socket.is_paused = true,
            Received::Close => socket.to_server.clear(),
        }
        self.after_worker(proxy, worker);
    }

    pub(super) fn bytes_from_server(&mut self, connection: usize) {
        let socket = &mut self.sockets[connection];
        let (proxy, worker, token) = (socket.proxy, socket.worker, socket.token);
        let seat = &mut self.proxies[proxy].seats[worker];
        let output = seat.worker.pending_output(token, OFFERED_BYTES, self.now);
        let offered = output.len();
        let count = match self.random.below(4) {
            0 => self.random.below(offered + 1),
            _ => offered,
        };
        let taken = output.slices().flatten().take(count).copied().collect();
        socket.to_client.push(self.history.now_ms, taken);
        seat.worker.written(token, count, self.now, &mut seat.actions);
        // A socket that took less takes more later; one that took all may be offered more.
        socket.is_dirty = offered > 0;
        self.after_worker(proxy, worker);
    }

    pub(super) fn bytes_to_client(&mut self, connection: usize) -> Result<(), Violation> {
        let socket = &mut self.sockets[connection];
        if socket.to_client.is_empty() {
            if let Some(how) = socket.server_end.take() {
                socket.is_at_client = false;
                self.history.ended(connection, how);
                self.forget_sockets();
            }
            return Ok(());
        }
        let count = match self.random.below(4) {
            0 => 1 + self.random.below(socket.to_client.len()),
            _ => socket.to_client.len(),
        };
        let mut left = count;
        while left > 0
            && let Some((written_ms, bytes)) = socket.to_client.take(left)
        {
            left -= bytes.len();
            self.clients[connection].receive(&bytes, written_ms, &mut self.history)?;
        }
        self.carry(connection);
        Ok(())
    }

    /// A worker has ended a connection: what it has to say goes out, then the socket is closed.
    pub(super) fn close_by_server(&mut self, connection: usize) {
        let socket = &mut self.sockets[connection];
        let (proxy, worker, token) = (socket.proxy, socket.worker, socket.token);
        let seat = &mut self.proxies[proxy].seats[worker];
        loop {
            let output = seat.worker.pending_output(token, OFFERED_BYTES, self.now);
            let offered = output.len();
            let taken = output.slices().flatten().copied().collect();
            socket.to_client.push(self.history.now_ms, taken);
            seat.worker.written(token, offered, self.now, &mut seat.actions);
            if offered == 0 {
                break;
            }
        }
        seat.worker.closed(token, self.now, &mut seat.actions);
        socket.is_at_server = false;
        socket.server_end = Some(How::ByServer);
        socket.to_server.clear();
        self.after_worker(proxy, worker);
        self.forget_sockets();
    }

    /// The client ends a connection. `lossy`: what is on its way is lost.
    pub(super) fn close_by_client(&mut self, connection: usize, how: How, lossy: bool) {
        let socket = &mut self.sockets[connection];
        if !socket.is_at_client {
            return;
        }
        socket.is_at_client = false;
        if lossy {
            socket.to_server.clear();
        }
        // What crosses the server's own end of the connection is read by nobody.
        if !lossy && socket.to_server.is_empty() && socket.server_end.is_none() {
            self.history.all_read(connection);
        }
        socket.client_end = Some(if lossy {
            PeerClose::Error
        } else {
            PeerClose::EndOfStream
        });
        socket.to_client = Written::default();
        self.history.ended(connection, how);
        self.forget_sockets();
    }

    /// The process at the other end dies.
    pub(super) fn close_by_crash(&mut self, connection: usize) {
        let socket = &mut self.sockets[connection];
        socket.is_at_server = false;
        socket.to_server.clear();
        if socket.is_at_client && socket.server_end.is_none() {
            socket.server_end = Some(How::Crashed);
        }
    }

    pub(super) fn forget_sockets(&mut self) {
        let sockets = &self.sockets;
        self.open.retain(|connection| !sockets[*connection].is_over());
    }
}
