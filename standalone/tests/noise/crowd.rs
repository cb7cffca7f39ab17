//! Threads of clients that play scripts drawn from seeds.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use freshet_simulation::Random;
use freshet_simulation::noise::{CLIENTS, Deed, Listener, Script};

const THREADS: u64 = 8;
/// A server that has paused reading lets a client wait; this one does not wait for long.
const PATIENCE: Duration = Duration::from_millis(200);
/// Time in a script passes so much faster than its milliseconds say.
const HASTE: u64 = 100;

/// Packets that clients have heard, by name.
type Heard = BTreeMap<&'static str, u64>;

pub(crate) struct Crowd {
    address: SocketAddr,
    next_seed: u64,
    heard: Heard,
}

impl Crowd {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            next_seed: 0,
            heard: Heard::new(),
        }
    }

    /// Plays scripts until the time is over, then hangs up.
    pub(crate) fn make_noise(&mut self, time: Duration) {
        let until = Instant::now() + time;
        let address = self.address;
        let first = self.next_seed;
        self.next_seed += 1 << 32;
        let threads = (0..THREADS).map(|thread| {
            std::thread::spawn(move || {
                let mut heard = Heard::new();
                let mut seed = first + thread;
                while Instant::now() < until {
                    play(address, seed, &mut heard);
                    seed += THREADS;
                }
                heard
            })
        });
        // All of them run before the first is waited for.
        let threads: Vec<_> = threads.collect();
        for thread in threads {
            for (name, count) in thread.join().expect("a script that breaks no rule") {
                *self.heard.entry(name).or_default() += count;
            }
        }
    }

    pub(crate) const fn heard(&self) -> &Heard {
        &self.heard
    }

    /// The noise has reached what it is meant to reach.
    pub(crate) fn has_been_served(&self) {
        for name in [
            "CONNACK",
            "SUBACK",
            "PUBLISH",
            "PUBACK",
            "PUBREC",
            "PUBREL",
            "PUBCOMP",
            "DISCONNECT",
        ] {
            assert!(self.heard.contains_key(name), "no {name} in {:?}", self.heard);
        }
    }
}

/// One client's connection.
struct Seat {
    stream: TcpStream,
    listener: Listener,
    /// Bytes that the client will take; none: all that comes.
    appetite: Option<usize>,
}

/// Plays the script of a seed, and hangs up.
fn play(address: SocketAddr, seed: u64, heard: &mut Heard) {
    let mut random = Random::new(seed);
    let length = 100 + random.below(1_500);
    let bytes: Vec<u8> = (0..length).map(|_| random.next().to_le_bytes()[0]).collect();
    let mut seats: [Option<Seat>; CLIENTS] = [const { None }; CLIENTS];
    for deed in Script::new(&bytes) {
        match deed {
            Deed::Say { client, bytes, begins } => {
                let place = &mut seats[client];
                if place.is_none() && begins {
                    *place = Some(Seat::open(address));
                }
                if place.as_mut().is_some_and(|seat| seat.say(&bytes).is_none()) {
                    *place = None;
                }
            }
            Deed::Read { client, bytes } => {
                if let Some(seat) = &mut seats[client] {
                    seat.appetite = Some(bytes);
                }
            }
            Deed::HangUp { client, reset } => {
                if let Some(seat) = seats[client].take()
                    && reset
                {
                    rustix::net::sockopt::set_socket_linger(&seat.stream, Some(Duration::ZERO)).unwrap();
                }
            }
            Deed::Pass { ms } => pause(Duration::from_millis(ms / HASTE)),
            // Storage is in the same process.
            Deed::Storage { .. } => {}
        }
        for place in &mut seats {
            let is_over = place.as_mut().is_some_and(|seat| seat.listen(seed, heard).is_none());
            if is_over {
                *place = None;
            }
        }
    }
}

fn pause(time: Duration) {
    // Nobody sends.
    let (_sender, receiver) = mpsc::channel::<()>();
    let _ = receiver.recv_timeout(time);
}

impl Seat {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            listener: Listener::default(),
            appetite: None,
        }
    }

    /// Sends bytes; none: the server does not take them, or has hung up.
    fn say(&mut self, bytes: &[u8]) -> Option<()> {
        self.listener.said(bytes);
        self.stream.write_all(bytes).ok()
    }

    /// Reads what is there, as far as the client wants to; none: the connection has ended.
    fn listen(&mut self, seed: u64, heard: &mut Heard) -> Option<()> {
        let mut buffer = [0; 16 << 10];
        self.stream.set_nonblocking(true).unwrap();
        while self.appetite != Some(0) {
            let most = buffer.len().min(self.appetite.unwrap_or(usize::MAX));
            let count = match self.stream.read(&mut buffer[..most]) {
                Ok(0) => return None,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return None,
            };
            self.appetite = self.appetite.map(|left| left - count);
            let judged = self.listener.hears(&buffer[..count], heard);
            assert_eq!(judged, Ok(()), "seed {seed}");
        }
        self.stream.set_nonblocking(false).unwrap();
        Some(())
    }
}
