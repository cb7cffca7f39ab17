//! The clients of a measurement: sockets, one epoll set, one send per client and wake.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::sockopt::Timeout;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::guest::{Guest, Subscription, admit};
use crate::wire::{self, Packet};

/// A broker that reads nothing for this long has failed.
const LEAVE_LIMIT: Duration = Duration::from_secs(30);
/// Event data of what is no client.
const TIMER: u64 = u64::MAX;

struct Client {
    socket: OwnedFd,
    unparsed: Vec<u8>,
    unsent: Vec<u8>,
}

/// All clients of a measurement, by index.
pub(crate) struct Fleet {
    epoll: OwnedFd,
    clients: Vec<Client>,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
    started: Instant,
}

impl Fleet {
    /// Connects client `i` with a clean session and `subscriptions[i]`, in the order that `order` gives: the broker deals
    /// connections to workers as they come, so a shuffled order decides which pairs share a worker.
    ///
    /// # Errors
    /// When a client is refused or not answered in time.
    pub(crate) fn connect(
        broker: &[SocketAddr],
        subscriptions: &[Option<Subscription>],
        order: &[usize],
    ) -> anyhow::Result<Self> {
        let guests: Vec<Guest> = (0..)
            .zip(subscriptions)
            .map(|(client, subscription): (usize, _)| Guest::clean(format!("c{client}"), subscription.clone()))
            .collect();
        Self::connect_as(broker, &guests, order)
    }

    /// Connects client `i` as `guests[i]`, in the order that `order` gives.
    ///
    /// # Errors
    /// When a client is refused or not answered in time, or has a session when it should not, or none when it should.
    pub(crate) fn connect_as(broker: &[SocketAddr], guests: &[Guest], order: &[usize]) -> anyhow::Result<Self> {
        let mut fleet = Self::empty()?;
        let ordered: Vec<&Guest> = order.iter().filter_map(|&client| guests.get(client)).collect();
        let mut sockets: Vec<_> = order.iter().zip(admit(broker, &ordered, 0)?).collect();
        sockets.sort_by_key(|(client, _)| **client);
        anyhow::ensure!(sockets.len() == guests.len(), "a client is missing from the order");
        for (_, socket) in sockets {
            fleet.watch(socket)?;
        }
        Ok(fleet)
    }

    /// A fleet without clients.
    ///
    /// # Errors
    /// When the system has no epoll set for it.
    pub(crate) fn empty() -> anyhow::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            clients: Vec::new(),
            events: Vec::with_capacity(256),
            buffer: vec![0; 256 << 10],
            started: Instant::now(),
        })
    }

    /// Connects more clients, whose indices go on behind those that are there.
    ///
    /// # Errors
    /// As [`Self::connect_as`].
    pub(crate) fn add(&mut self, broker: &[SocketAddr], guests: &[Guest]) -> anyhow::Result<()> {
        let guests: Vec<&Guest> = guests.iter().collect();
        for socket in admit(broker, &guests, self.clients.len())? {
            self.watch(socket)?;
        }
        Ok(())
    }

    fn watch(&mut self, socket: std::net::TcpStream) -> anyhow::Result<()> {
        socket.set_nonblocking(true)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(u64::try_from(self.clients.len())?);
        epoll::add(&self.epoll, &socket, data, flags)?;
        self.clients.push(Client {
            socket: socket.into(),
            unparsed: Vec::new(),
            unsent: Vec::new(),
        });
        Ok(())
    }

    /// Adds a timer that ends [`Self::poll`]'s wait; the caller reads it.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub(crate) fn watch_timer(&self, timer: impl AsFd) -> anyhow::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            timer,
            epoll::EventData::new_u64(TIMER),
            epoll::EventFlags::IN,
        )?)
    }

    /// The clock of all timestamps.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits at most `timeout` and gives every arrived packet to `on_packet`, with the client's index, the time of its
    /// read, and where to write the client's answer.
    ///
    /// # Errors
    /// When the broker closes a connection or sends what is no packet, and what `on_packet` fails with.
    pub(crate) fn poll(
        &mut self,
        timeout: Duration,
        mut on_packet: impl FnMut(usize, Duration, &Packet<'_>, &mut Vec<u8>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.events.clear();
        // Whole milliseconds, so that the plain epoll_wait serves.
        let millis = Duration::from_millis(u64::try_from(timeout.as_millis())?);
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            Some(&Timespec::try_from(millis)?),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &self.events {
            let Ok(index) = usize::try_from(event.data.u64()) else {
                continue;
            };
            let Some(client) = self.clients.get_mut(index) else {
                continue;
            };
            // Copied out, because the kernel's struct is packed.
            let flags = event.flags;
            if flags.contains(epoll::EventFlags::IN) {
                while client.read(&mut self.buffer, |packet, out| {
                    on_packet(index, self.started.elapsed(), packet, out)
                })? {}
            }
            client.flush()?;
        }
        Ok(())
    }

    /// Lets a client send.
    ///
    /// # Errors
    /// When its connection is broken.
    pub(crate) fn send(&mut self, client: usize, write: impl FnOnce(&mut Vec<u8>)) -> anyhow::Result<()> {
        let client = &mut self.clients[client];
        write(&mut client.unsent);
        client.flush()
    }
}

impl Fleet {
    /// Lets all clients say the last of what they have to, acknowledgements above all, and disconnect.
    ///
    /// # Errors
    /// When a connection is broken, or the broker does not read.
    pub(crate) fn leave(self) -> anyhow::Result<()> {
        for mut client in self.clients {
            client.unsent.extend_from_slice(&wire::DISCONNECT);
            rustix::io::ioctl_fionbio(&client.socket, false)?;
            rustix::net::sockopt::set_socket_timeout(&client.socket, Timeout::Send, Some(LEAVE_LIMIT))?;
            while !client.unsent.is_empty() {
                let sent = send(&client.socket, &client.unsent, SendFlags::NOSIGNAL)?;
                client.unsent.drain(..sent);
            }
        }
        Ok(())
    }
}

impl Client {
    /// Reads once, and says whether the socket may hold more.
    fn read(
        &mut self,
        buffer: &mut [u8],
        mut on_packet: impl FnMut(&Packet<'_>, &mut Vec<u8>) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        let kept = self.unparsed.len();
        let room = buffer.len() - kept;
        let count = match recv(&self.socket, &mut buffer[kept..], RecvFlags::empty()) {
            Ok((0, _)) => anyhow::bail!("the broker closed a connection"),
            Ok((count, _)) => count,
            Err(Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        buffer[..kept].copy_from_slice(&self.unparsed);
        self.unparsed.clear();
        let mut rest = &buffer[..kept + count];
        while let Some((packet, size)) = wire::decode(rest).map_err(|_| anyhow::anyhow!("a malformed packet"))? {
            on_packet(&packet, &mut self.unsent)?;
            rest = &rest[size..];
        }
        self.unparsed.extend_from_slice(rest);
        Ok(count == room)
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        match send(&self.socket, &self.unsent, SendFlags::NOSIGNAL) {
            Ok(count) => drop(self.unsent.drain(..count)),
            Err(Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
