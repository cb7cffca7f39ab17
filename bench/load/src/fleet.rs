//! The clients of a measurement: sockets, one epoll set, one send per client and wake.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::wire::{self, Packet};

/// Clients that connect, or wait for their answers, at once.
const CONNECTS_AT_ONCE: usize = 256;
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// Event data of what is no client.
const TIMER: u64 = u64::MAX;

/// What a client does besides publishing.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) filter: String,
    pub(crate) qos: u8,
}

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
    /// Connects client `i` with subscription `subscriptions[i]`, in the order that `order` gives: the broker deals
    /// connections to workers as they come, so a shuffled order decides which pairs share a worker.
    ///
    /// # Errors
    /// When a client is refused or not answered in time.
    pub(crate) fn connect(
        broker: SocketAddr,
        subscriptions: &[Option<Subscription>],
        order: &[usize],
    ) -> anyhow::Result<Self> {
        let mut sockets: Vec<Option<TcpStream>> = subscriptions.iter().map(|_| None).collect();
        for some in order.chunks(CONNECTS_AT_ONCE) {
            for &client in some {
                let mut socket = open(broker)?;
                greet(&mut socket, &format!("c{client}"), subscriptions[client].as_ref())?;
                sockets[client] = Some(socket);
            }
            for &client in some {
                let socket = sockets[client].as_mut().context("a client missing from the order")?;
                await_answer(socket, subscriptions[client].as_ref(), client)?;
            }
        }
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut clients = Vec::with_capacity(sockets.len());
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        for (index, socket) in (0..).zip(sockets) {
            let socket = socket.context("a client missing from the order")?;
            socket.set_nonblocking(true)?;
            epoll::add(&epoll, &socket, epoll::EventData::new_u64(index), flags)?;
            clients.push(Client {
                socket: socket.into(),
                unparsed: Vec::new(),
                unsent: Vec::new(),
            });
        }
        let (events, buffer) = (Vec::with_capacity(256), vec![0; 256 << 10]);
        Ok(Self {
            epoll,
            clients,
            events,
            buffer,
            started: Instant::now(),
        })
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

/// A connection whose reads do not wait for ever.
///
/// # Errors
/// When the broker does not take it.
pub(crate) fn open(broker: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&broker, CONNECT_LIMIT)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(CONNECT_LIMIT))?;
    Ok(socket)
}

/// Sends CONNECT, and SUBSCRIBE behind it.
///
/// # Errors
/// When the connection is broken.
pub(crate) fn greet(
    socket: &mut TcpStream,
    client_id: &str,
    subscription: Option<&Subscription>,
) -> anyhow::Result<()> {
    let mut hello = Vec::new();
    wire::encode_connect(&mut hello, client_id);
    if let Some(Subscription { filter, qos }) = subscription {
        wire::encode_subscribe(&mut hello, 1, filter.as_bytes(), *qos);
    }
    Ok(socket.write_all(&hello)?)
}

/// Reads CONNACK, and SUBACK behind it.
///
/// # Errors
/// When they do not come, or CONNACK refuses.
pub(crate) fn await_answer(
    socket: &mut TcpStream,
    subscription: Option<&Subscription>,
    client: usize,
) -> anyhow::Result<()> {
    let expected = wire::CONNACK.len() + if subscription.is_some() { 5 } else { 0 };
    let mut answer = vec![0; expected];
    socket
        .read_exact(&mut answer)
        .with_context(|| format!("client {client} got no answer"))?;
    anyhow::ensure!(
        answer.starts_with(&wire::CONNACK),
        "client {client} was refused: {answer:?}"
    );
    Ok(())
}
