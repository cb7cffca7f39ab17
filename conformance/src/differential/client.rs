//! A client of a script: what it was sent and nobody has looked at yet, and the letters of packet identifiers.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::observe::{Seen, Telling, What};
use super::send::{Outgoing, Socket};

/// How long a broker may take for what it is known to do.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// How long a broker must be silent, once it has answered PINGREQ, before "nothing" is what it has sent. Shorter than it
/// needs in the worst case misses a difference, and never makes one up.
pub(crate) const QUIET: Duration = Duration::from_millis(300);
/// Identifiers of packets for which scripts give none.
const FIRST_FREE_ID: u16 = 1000;

/// The client.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    telling: Telling,
    connection: Option<Connection>,
    is_connected: bool,
    pending: VecDeque<Seen>,
    letters: Letters,
    next_id: u16,
}

/// Letters for the identifiers that a broker chooses, in the order in which they are first seen.
#[derive(Debug, Clone, Default)]
struct Letters {
    by_id: BTreeMap<u16, char>,
    given: u8,
}

impl Letters {
    fn letter(&mut self, packet_id: u16) -> char {
        let given = &mut self.given;
        *self.by_id.entry(packet_id).or_insert_with(|| {
            let letter = char::from(b'A' + *given % 26);
            *given = given.wrapping_add(1);
            letter
        })
    }

    fn id(&self, letter: &str) -> Option<u16> {
        let is_it = |(_, of): &(&u16, &char)| letter.chars().eq([**of]);
        self.by_id.iter().find(is_it).map(|(id, _)| *id)
    }
}

impl Client {
    pub(crate) fn new(address: SocketAddr, telling: Telling) -> Self {
        Self {
            address,
            telling,
            connection: None,
            is_connected: false,
            pending: VecDeque::new(),
            letters: Letters::default(),
            next_id: FIRST_FREE_ID,
        }
    }

    /// Turns what a script writes behind `#` into an identifier; chooses one when nothing is written.
    ///
    /// # Errors
    /// For a letter that no packet has.
    pub(crate) fn packet_id(&mut self, written: Option<&str>) -> anyhow::Result<u16> {
        let Some(written) = written else {
            self.next_id += 1;
            return Ok(self.next_id);
        };
        match written.parse() {
            Ok(number) => Ok(number),
            Err(_) => self
                .letters
                .id(written)
                .with_context(|| format!("no packet has the identifier #{written}")),
        }
    }

    /// Sends a packet, on a new connection if it asks for one.
    ///
    /// # Errors
    /// When there is no broker, or no connection for a packet that needs one.
    pub(crate) async fn send(&mut self, outgoing: Outgoing) -> anyhow::Result<()> {
        match outgoing.socket {
            Socket::Drop => {
                self.close();
                return Ok(());
            }
            Socket::New => {
                self.close();
                let telling = Telling {
                    manual: outgoing.manual,
                    ..self.telling.clone()
                };
                self.connection = Some(Connection::open(self.address, telling).await?);
            }
            Socket::Present => {}
        }
        let ends_exchange = match outgoing.name.as_str() {
            "PUBACK" | "PUBCOMP" => true,
            "PUBREC" => outgoing.code >= 0x80,
            _ => false,
        };
        if ends_exchange && let Some(id) = outgoing.id.as_deref().and_then(|letter| self.letters.id(letter)) {
            self.letters.by_id.remove(&id);
        }
        let Some(connection) = &self.connection else {
            bail!("{} without a connection", outgoing.name);
        };
        connection.send(outgoing.bytes);
        Ok(())
    }

    fn close(&mut self) {
        self.connection = None;
        self.is_connected = false;
        self.pending.clear();
    }

    /// Waits for one more packet; false when none comes until then, or none can come.
    async fn more(&mut self, until: Instant) -> bool {
        let Some(connection) = &mut self.connection else {
            return false;
        };
        let Ok(Some(seen)) = timeout_at(until, connection.seen.recv()).await else {
            return false;
        };
        match seen.what {
            What::Connected { session_present } => {
                self.is_connected = true;
                if !session_present {
                    self.letters.by_id.clear();
                }
            }
            What::Closed => self.is_connected = false,
            _ => {}
        }
        self.pending.push_back(seen);
        true
    }

    /// Waits until one of `ways` is what comes next, and takes it. Otherwise takes and returns what came instead.
    pub(crate) async fn expect(&mut self, ways: &[Vec<String>], in_any_order: bool) -> Result<(), Vec<String>> {
        let until = Instant::now() + DEADLINE;
        let most = ways.iter().map(Vec::len).max().unwrap_or_default();
        loop {
            // Nothing is only seen when all is silent, and so is the shorter of two ways.
            let mut found = ways.iter().filter(|way| way.len() == most && most > 0);
            if let Some(way) = found.find(|way| self.comes_next(way, in_any_order)) {
                let way = way.clone();
                self.take(way.len(), in_any_order);
                return Ok(());
            }
            if most == 0 || self.pending.len() >= most || !self.more(until).await {
                break;
            }
        }
        self.settle().await;
        if let Some(way) = ways.iter().find(|way| self.comes_next(way, in_any_order))
            && (!way.is_empty() || self.pending.is_empty())
        {
            let way = way.clone();
            self.take(way.len(), in_any_order);
            return Ok(());
        }
        let all = self.pending.len();
        Err(self.take(all, in_any_order))
    }

    /// Waits until the broker has said all that it has to say.
    pub(crate) async fn settle(&mut self) {
        let until = Instant::now() + DEADLINE;
        if self.is_connected
            && let Some(connection) = &self.connection
        {
            connection.send(vec![0xC0, 0]);
            loop {
                if let Some(at) = self.pending.iter().position(|seen| seen.what == What::Pong) {
                    self.pending.remove(at);
                    break;
                }
                if !self.is_connected || !self.more(until).await {
                    break;
                }
            }
        }
        while Instant::now() < until && self.more(Instant::now() + QUIET).await {}
    }

    fn comes_next(&self, way: &[String], in_any_order: bool) -> bool {
        self.pending.len() >= way.len() && self.clone_letters().tell(&self.pending, way.len(), in_any_order) == way
    }

    fn clone_letters(&self) -> Letters {
        self.letters.clone()
    }

    fn take(&mut self, packets: usize, in_any_order: bool) -> Vec<String> {
        let told = self.letters.tell(&self.pending, packets, in_any_order);
        self.pending.drain(..packets);
        told
    }

    /// Takes the answer to a packet that the script sends with `+`.
    ///
    /// # Errors
    /// What came instead.
    pub(crate) async fn answer(&mut self, is_it: impl Fn(&Seen) -> bool) -> Result<Seen, String> {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(at) = self.pending.iter().position(&is_it)
                && let Some(seen) = self.pending.remove(at)
            {
                return Ok(seen);
            }
            if !self.more(until).await {
                let all: Vec<&str> = self.pending.iter().map(|seen| seen.text.as_str()).collect();
                return Err(all.join("; "));
            }
        }
    }

    /// What is left, once nobody looks any more.
    pub(crate) fn leftover(&mut self) -> Vec<String> {
        let all = self.pending.len();
        self.take(all, false)
    }
}

impl Letters {
    /// Tells the first packets, with letters for their identifiers.
    fn tell(&mut self, pending: &VecDeque<Seen>, packets: usize, in_any_order: bool) -> Vec<String> {
        let mut all: Vec<&Seen> = pending.iter().take(packets).collect();
        if in_any_order {
            all.sort_by(|a, b| a.text.cmp(&b.text));
        }
        let tell = |seen: &Seen| match seen.what {
            What::Chosen { packet_id } => {
                let letter = self.letter(packet_id);
                seen.text.replacen("#?", &format!("#{letter}"), 1)
            }
            _ => seen.text.clone(),
        };
        let mut told: Vec<String> = all.into_iter().map(tell).collect();
        if in_any_order {
            told.sort_unstable();
        }
        told
    }
}
