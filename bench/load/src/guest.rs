//! A client on its way in: its socket, CONNECT with SUBSCRIBE behind it, and their answers.
//!
//! Used by the fleet, and by devices that only look in. Leaves out what clients do once they are in.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use crate::wire::{self, Packet};

/// Clients whose answers are waited for at once.
pub(crate) const AT_ONCE: usize = 256;
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// Sources of connections on the loopback: each has some 28,000 ports, and one that was used is not free for a minute.
const SOURCES: usize = 200;

/// A filter that a client subscribes to.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) filter: String,
    pub(crate) qos: u8,
}

/// What becomes of a session behind its connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Session {
    /// It ends.
    Clean,
    /// It stays, for as long as the broker keeps sessions of MQTT 3.1.1.
    Kept,
    /// It ends at this time: MQTT 5.0.
    Expires(Instant),
}

/// A client that is to connect.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) client_id: String,
    pub(crate) session: Session,
    /// Whether the broker must have a session of it.
    pub(crate) comes_back: bool,
    pub(crate) subscriptions: Vec<Subscription>,
}

impl Guest {
    pub(crate) fn clean(client_id: String, subscription: Option<Subscription>) -> Self {
        Self {
            client_id,
            session: Session::Clean,
            comes_back: false,
            subscriptions: subscription.into_iter().collect(),
        }
    }

    /// Sends CONNECT, and SUBSCRIBE behind it.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(crate) fn greet(&self, socket: &mut TcpStream) -> anyhow::Result<()> {
        let mut hello = Vec::new();
        match self.session {
            Session::Clean => wire::encode_connect(&mut hello, &self.client_id),
            Session::Kept => wire::encode_connect_kept(&mut hello, &self.client_id),
            Session::Expires(at) => {
                let left = at.saturating_duration_since(Instant::now()).as_secs_f64().ceil();
                // A few minutes.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                wire::five::encode_connect(&mut hello, &self.client_id, left as u32);
            }
        }
        if let Session::Expires(_) = self.session {
            let filters: Vec<String> = self.subscriptions.iter().map(|s| s.filter.clone()).collect();
            let qos = self.subscriptions.iter().map(|s| s.qos).max();
            if let Some(qos) = qos {
                wire::five::encode_subscribe(&mut hello, 1, &filters, qos);
            }
        } else {
            for (packet_id, Subscription { filter, qos }) in (1..).zip(&self.subscriptions) {
                wire::encode_subscribe(&mut hello, packet_id, filter.as_bytes(), *qos);
            }
        }
        Ok(socket.write_all(&hello)?)
    }

    /// Reads CONNACK, and SUBACK behind it, and nothing of what comes behind those.
    ///
    /// # Errors
    /// When they do not come or refuse, or the broker knows the session otherwise than it should.
    pub(crate) fn await_answer(&self, socket: &mut TcpStream) -> anyhow::Result<()> {
        let name = &self.client_id;
        let no_answer = || format!("client {name} got no answer");
        let connack = read_packet(socket).with_context(no_answer)?;
        match wire::decode(&connack) {
            Ok(Some((
                Packet::ConnAck {
                    session_present,
                    code: 0,
                },
                _,
            ))) => anyhow::ensure!(
                session_present == self.comes_back,
                "client {name} finds {} session",
                if session_present { "a" } else { "no" }
            ),
            _ => anyhow::bail!("client {name} was refused: {connack:?}"),
        }
        let subacks = match self.session {
            Session::Expires(_) => usize::from(!self.subscriptions.is_empty()),
            Session::Clean | Session::Kept => self.subscriptions.len(),
        };
        for _ in 0..subacks {
            let suback = read_packet(socket).with_context(no_answer)?;
            anyhow::ensure!(
                matches!(wire::decode(&suback), Ok(Some((Packet::SubAck { code: 0..=2 }, _)))),
                "client {name} is not subscribed: {suback:?}"
            );
        }
        Ok(())
    }
}

/// Lets guests look in and go again, all at once, from the source whose turn it is.
///
/// # Errors
/// When one is refused or not answered in time.
pub(crate) fn look_in(broker: &[SocketAddr], guests: &[Guest], turn: usize) -> anyhow::Result<()> {
    let mut sockets = Vec::with_capacity(guests.len());
    for (place, guest) in guests.iter().enumerate() {
        let mut socket = open(address_of(broker, place)?, turn)?;
        guest.greet(&mut socket)?;
        sockets.push(socket);
    }
    for (guest, mut socket) in guests.iter().zip(sockets) {
        guest.await_answer(&mut socket)?;
        socket.write_all(&wire::DISCONNECT)?;
    }
    Ok(())
}

/// Connects guests, some at once, and waits for their answers. Client `i` goes to the address whose turn it is.
///
/// # Errors
/// When one is refused or not answered in time.
pub(crate) fn admit(broker: &[SocketAddr], guests: &[&Guest], before: usize) -> anyhow::Result<Vec<TcpStream>> {
    let mut sockets = Vec::with_capacity(guests.len());
    for (turn, some) in guests.chunks(AT_ONCE).enumerate() {
        let first = sockets.len();
        for (place, guest) in some.iter().enumerate() {
            let mut socket = open(address_of(broker, first + place)?, before / AT_ONCE + turn)?;
            guest.greet(&mut socket)?;
            sockets.push(socket);
        }
        for (guest, socket) in some.iter().zip(&mut sockets[first..]) {
            guest.await_answer(socket)?;
        }
    }
    Ok(sockets)
}

/// The address whose turn it is.
///
/// # Errors
/// When there is none.
pub(crate) fn address_of(broker: &[SocketAddr], turn: usize) -> anyhow::Result<SocketAddr> {
    let place = turn.checked_rem(broker.len()).context("a broker without an address")?;
    Ok(broker[place])
}

/// A connection whose reads do not wait for ever, from the source whose turn it is.
///
/// # Errors
/// When the broker does not take it.
pub(crate) fn open(broker: SocketAddr, turn: usize) -> anyhow::Result<TcpStream> {
    let socket = if broker.ip() == Ipv4Addr::LOCALHOST {
        let source = Ipv4Addr::new(127, 0, 1, u8::try_from(turn % SOURCES)?.saturating_add(1));
        let socket = rustix::net::socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            Some(ipproto::TCP),
        )?;
        rustix::net::bind(&socket, &SocketAddrV4::new(source, 0))?;
        rustix::net::connect(&socket, &broker)?;
        TcpStream::from(socket)
    } else {
        TcpStream::connect_timeout(&broker, CONNECT_LIMIT)?
    };
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(CONNECT_LIMIT))?;
    Ok(socket)
}

/// One packet of at most a few hundred bytes.
fn read_packet(socket: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut packet = vec![0; 2];
    socket.read_exact(&mut packet)?;
    let mut length = usize::from(packet[1] & 0x7f);
    if packet[1] & 0x80 != 0 {
        let mut second = [0];
        socket.read_exact(&mut second)?;
        length += usize::from(second[0] & 0x7f) << 7;
        packet.push(second[0]);
    }
    let begins = packet.len();
    packet.resize(begins + length, 0);
    socket.read_exact(&mut packet[begins..])?;
    Ok(packet)
}
