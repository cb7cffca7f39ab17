//! All clients come back at once, while others are at work: how long until all are in, and what the others notice.
//!
//! A client that is refused or not answered within ten seconds comes again a second later.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, ipproto, recv, send, sockopt,
};

use super::guest::address_of;
use super::meter::{Broker, Percentiles};
use super::others::Others;
use crate::wire;

/// How long the others are looked at before the storm.
const CALM: Duration = Duration::from_secs(3);
/// Connections begun between two looks at the others.
const BEGUN_AT_ONCE: usize = 32;
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const BACK_OFF: Duration = Duration::from_secs(1);
/// A storm that lasts longer has failed.
const LIMIT: Duration = Duration::from_secs(120);

/// The figures of one storm.
#[derive(Debug, Clone)]
pub struct Storm {
    /// From the first connection to the last CONNACK.
    pub all_in_s: f64,
    /// Times that a client was refused, closed or not answered, and came again.
    pub again: u64,
    /// Of the others before the storm.
    pub calm_p99_us: f64,
    /// Of the others until all were in.
    pub p50_us: f64,
    /// As above.
    pub p99_us: f64,
    /// When each client was in, since the first connection, in order.
    pub entered: Vec<Duration>,
    /// Each latency of the others until all were in, in microseconds, in order of length.
    pub others_us: Vec<u32>,
}

/// Lets `clients` connect at once.
///
/// # Errors
/// When not all are in after two minutes, or the others lose a message.
pub fn storm(broker: &dyn Broker, clients: u32, seed: u64) -> anyhow::Result<Storm> {
    let mut others = Others::connect(broker.addresses(), seed)?;
    let calm_until = Instant::now() + CALM;
    while Instant::now() < calm_until {
        others.step(Duration::from_millis(1))?;
    }
    let calm = others.take_latencies();

    let mut crowd = Crowd::new(broker.addresses(), clients)?;
    let started = Instant::now();
    while crowd.is_out() {
        let is_busy = crowd.step()?;
        others.step(Duration::from_millis(u64::from(!is_busy)))?;
        anyhow::ensure!(
            started.elapsed() < LIMIT,
            "{} of {clients} clients are in after two minutes",
            crowd.inside
        );
    }
    let all_in_s = started.elapsed().as_secs_f64();
    others.end()?;
    let mut others_us = others.take_samples();
    let Percentiles { p50_us, p99_us, .. } = Percentiles::of(&mut others_us);
    Ok(Storm {
        all_in_s,
        again: crowd.again,
        calm_p99_us: calm.p99_us,
        p50_us,
        p99_us,
        entered: crowd.entered.iter().map(|at| at.duration_since(started)).collect(),
        others_us,
    })
}

/// Those that come back.
struct Crowd {
    addresses: Vec<SocketAddr>,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    clients: Vec<Comer>,
    /// To connect now.
    waiting: VecDeque<usize>,
    /// To connect at a time, and answers that are due at a time, oldest first.
    backing_off: VecDeque<(Instant, usize)>,
    awaited: VecDeque<(Instant, usize, u64)>,
    inside: usize,
    entered: Vec<Instant>,
    again: u64,
}

#[derive(Default)]
struct Comer {
    socket: Option<OwnedFd>,
    has_greeted: bool,
    is_in: bool,
    attempts: u64,
}

impl Crowd {
    fn new(addresses: &[SocketAddr], clients: u32) -> anyhow::Result<Self> {
        let count = usize::try_from(clients)?;
        Ok(Self {
            addresses: addresses.to_vec(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(256),
            clients: (0..count).map(|_| Comer::default()).collect(),
            waiting: (0..count).collect(),
            backing_off: VecDeque::new(),
            awaited: VecDeque::new(),
            inside: 0,
            entered: Vec::with_capacity(count),
            again: 0,
        })
    }

    fn is_out(&self) -> bool {
        self.inside < self.clients.len()
    }

    /// Begins some connections and takes what has come. Returns whether there is more to do at once.
    fn step(&mut self) -> anyhow::Result<bool> {
        let now = Instant::now();
        while let Some((_, index)) = self.backing_off.pop_front_if(|(at, _)| *at <= now) {
            self.waiting.push_back(index);
        }
        while let Some((_, index, attempt)) = self.awaited.pop_front_if(|(at, ..)| *at <= now) {
            let client = &self.clients[index];
            if !client.is_in && client.attempts == attempt && client.socket.is_some() {
                self.come_again(index, now);
            }
        }
        for _ in 0..BEGUN_AT_ONCE {
            let Some(index) = self.waiting.pop_front() else { break };
            self.begin(index, now)?;
        }
        self.events.clear();
        let no_wait = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&no_wait)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let events = std::mem::take(&mut self.events);
        for event in &events {
            let Ok(index) = usize::try_from(event.data.u64()) else {
                continue;
            };
            // Copied out, because the kernel's struct is packed.
            let flags = event.flags;
            self.on_event(index, flags, now);
        }
        let is_busy = !events.is_empty() || !self.waiting.is_empty();
        self.events = events;
        Ok(is_busy)
    }

    fn begin(&mut self, index: usize, now: Instant) -> anyhow::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let address = address_of(&self.addresses, index)?;
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        match connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let events = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(u64::try_from(index)?);
        epoll::add(&self.epoll, &socket, data, events)?;
        let client = &mut self.clients[index];
        client.socket = Some(socket);
        client.has_greeted = false;
        client.attempts += 1;
        self.awaited.push_back((now + ANSWER_LIMIT, index, client.attempts));
        Ok(())
    }

    fn on_event(&mut self, index: usize, flags: epoll::EventFlags, now: Instant) {
        let client = &mut self.clients[index];
        let Some(socket) = &client.socket else { return };
        let is_broken = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
        if !is_broken && flags.contains(epoll::EventFlags::OUT) && !client.has_greeted {
            let mut hello = Vec::new();
            wire::encode_connect(&mut hello, &format!("storm{index}"));
            client.has_greeted = send(socket, &hello, SendFlags::NOSIGNAL).is_ok();
        }
        if is_broken || flags.contains(epoll::EventFlags::IN) {
            let mut answer = [0; 16];
            match recv(socket, &mut answer, RecvFlags::empty()) {
                Ok((count, _)) if answer.get(..count) == Some(&wire::CONNACK) && !client.is_in => {
                    client.is_in = true;
                    self.inside += 1;
                    self.entered.push(now);
                }
                Err(Errno::AGAIN) if !is_broken => {}
                _ => self.come_again(index, now),
            }
        }
    }

    fn come_again(&mut self, index: usize, now: Instant) {
        let client = &mut self.clients[index];
        client.socket = None;
        if std::mem::take(&mut client.is_in) {
            self.inside -= 1;
        }
        self.again += 1;
        self.backing_off.push_back((now + BACK_OFF, index));
    }
}
