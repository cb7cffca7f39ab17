//! What clients said and were told, and what broke: all that the model knows.
//!
//! Every entry carries when it happened as a count of entries ([`At`]), which orders everything in the world, and
//! where it matters the world's time.

use freshet_mqtt::{ProtocolVersion, QoS, ReasonCode, RetainHandling};

/// When something happened: later is greater, and no two things share one.
pub(crate) type At = u32;

/// Everything that happened in a world.
#[derive(Debug, Default)]
pub struct History {
    last: At,
    /// The world's time, ms.
    pub(crate) now_ms: u64,
    pub(crate) connections: Vec<Connection>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) messages: Vec<Message>,
    pub(crate) requests: Vec<Request>,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) pings: Vec<Ping>,
    pub(crate) faults: Vec<Fault>,
    /// When everything had come to rest; connections that had not ended then were alive.
    pub(crate) rest: Option<At>,
    trace: Option<Vec<String>>,
}

/// A connection, in the order of their CONNECTs; named by its index.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Which client id.
    pub(crate) identity: usize,
    pub(crate) proxy: usize,
    pub(crate) version: ProtocolVersion,
    pub(crate) clean_start: bool,
    pub(crate) max_packet_bytes: u32,
    /// Session Expiry Interval, seconds.
    pub(crate) expiry_s: u32,
    /// Index of its will's message, and its delay in seconds.
    pub(crate) will: Option<(usize, u32)>,
    pub(crate) opened: At,
    /// The world's time then, ms.
    pub(crate) opened_ms: u64,
    pub(crate) accepted: Option<Accepted>,
    /// Why CONNECT was refused.
    pub(crate) refused: Option<ReasonCode>,
    pub(crate) ended: Option<Ended>,
    /// When the server had been given everything that the client had sent, and the end of it.
    pub(crate) all_read: Option<At>,
    /// The world's time then, ms.
    pub(crate) all_read_ms: u64,
    /// What the server's DISCONNECT said.
    pub(crate) told: Option<ReasonCode>,
    /// Exchanges and requests that have no answer.
    pub(crate) unanswered: Vec<String>,
}

/// CONNACK with success.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepted {
    pub(crate) at: At,
    pub(crate) ms: u64,
    pub(crate) session_present: bool,
    pub(crate) session: usize,
}

/// The end of a connection, as the client knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) at: At,
    pub(crate) ms: u64,
    pub(crate) how: How,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// The client sent DISCONNECT 0x00.
    Disconnect,
    /// The client sent DISCONNECT 0x04.
    DisconnectWithWill,
    /// The client closed.
    HungUp,
    /// The client was cut off; what was on its way is lost.
    Lost,
    /// The server closed.
    ByServer,
    /// The proxy's process died.
    Crashed,
}

/// A session: one connection, or several that were told "session present".
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connections: Vec<usize>,
    /// It was there when the client first heard of it, so that nobody knows its subscriptions.
    pub(crate) is_unknown: bool,
}

/// An application message; named by its index, which it carries as payload.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) connection: usize,
    pub(crate) is_will: bool,
    pub(crate) topic: &'static str,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// The payload says nothing: only the topic tells which message it is.
    pub(crate) empty: bool,
    pub(crate) padding: usize,
    pub(crate) expiry_s: Option<u32>,
    /// When it was first sent; of a will: when its CONNECT was.
    pub(crate) sent: At,
    pub(crate) sent_ms: u64,
    /// How often it was sent.
    pub(crate) attempts: usize,
    pub(crate) answered: Option<Answered>,
}

/// PUBACK or PUBREC.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    pub(crate) at: At,
    pub(crate) code: ReasonCode,
}

/// One filter of a SUBSCRIBE or UNSUBSCRIBE.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) connection: usize,
    pub(crate) filter: &'static str,
    /// None: UNSUBSCRIBE.
    pub(crate) options: Option<Options>,
    pub(crate) sent: At,
    pub(crate) answered: Option<Answered>,
}

/// What a subscription asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) retain_handling: RetainHandling,
    pub(crate) identifier: Option<u32>,
}

/// A PINGREQ.
#[derive(Debug)]
pub(crate) struct Ping {
    pub(crate) connection: usize,
    pub(crate) sent: At,
    pub(crate) answered: Option<At>,
}

/// A PUBLISH of the server.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) connection: usize,
    pub(crate) at: At,
    /// The world's time when the server wrote it: its client may have read it much later.
    pub(crate) written_ms: u64,
    pub(crate) topic: String,
    /// None: the payload was empty.
    pub(crate) message: Option<usize>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// It says that it may have been sent before: on an earlier connection.
    pub(crate) dup: bool,
    /// Sorted.
    pub(crate) identifiers: Vec<u32>,
    pub(crate) expiry_s: Option<u32>,
    /// Not a new message: its exchange began on an earlier connection of the session.
    pub(crate) again: bool,
    /// QoS 1: PUBACK was sent.
    pub(crate) is_acknowledged: bool,
}

/// Something broke.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) at: At,
    pub(crate) ms: u64,
    pub(crate) what: Broken,
}

/// What broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Streams of a proxy broke, or stand still.
    Streams { proxy: usize },
    /// Its streams stay broken, or stand still, until they are mended.
    StreamsBlocked { proxy: usize },
    /// They work again.
    StreamsMended { proxy: usize },
    /// Storage had forgotten a living proxy.
    Lease { proxy: usize },
    /// A proxy's process died.
    Proxy { proxy: usize },
    /// Storage lost its memory.
    Storage,
    /// Storage died, and came back with what it had flushed.
    StorageRestarted,
}

impl History {
    /// A history that also remembers what [`Self::say`] is told.
    pub(crate) fn traced() -> Self {
        Self {
            trace: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// The next moment.
    pub(crate) fn next(&mut self) -> At {
        self.last += 1;
        self.last
    }

    /// Adds a line to the trace, if there is one.
    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>4} {:>7} ms  {}", self.last, self.now_ms, line()));
        }
    }

    /// The lines of the trace.
    #[must_use]
    pub fn trace(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    pub(crate) fn broke(&mut self, what: Broken) {
        let at = self.next();
        self.say(|| format!("{what:?}"));
        self.faults.push(Fault {
            at,
            ms: self.now_ms,
            what,
        });
    }

    /// The server has been given everything that a client has sent, and the end of it.
    pub(crate) fn all_read(&mut self, connection: usize) {
        let (at, ms) = (self.next(), self.now_ms);
        if let Some(connection) = self.connections.get_mut(connection) {
            connection.all_read = Some(at);
            connection.all_read_ms = ms;
        }
    }

    pub(crate) fn ended(&mut self, connection: usize, how: How) {
        let at = self.next();
        self.say(|| format!("connection {connection} ends: {how:?}"));
        let ms = self.now_ms;
        if let Some(connection) = self.connections.get_mut(connection)
            && connection.ended.is_none()
        {
            connection.ended = Some(Ended { at, ms, how });
        }
    }

    /// Whether `what` broke after `from` and before `to`.
    pub(crate) fn has_broken(&self, what: impl Fn(Broken) -> bool, from: At, to: At) -> bool {
        self.faults.iter().any(|f| f.at > from && f.at < to && what(f.what))
    }

    /// Whether storage came back from its disk between `from` and `to` while a proxy could not be reached, or could not
    /// soon after: the publications of others may not have waited for it.
    pub(crate) fn came_late(&self, proxy: usize, from: At, to: At) -> bool {
        self.was_away(|b| b == Broken::StorageRestarted, proxy, from, to)
    }

    /// Whether storage lost its memory between `from` and `to` while a proxy could not be reached: that names what it had
    /// before, whatever has become of it elsewhere.
    pub(crate) fn forgot_without(&self, proxy: usize, from: At, to: At) -> bool {
        self.was_away(|b| b == Broken::Storage, proxy, from, to)
    }

    /// Whether a connection began and ended, as its proxy knows, while that could not reach storage.
    pub(crate) fn was_unanswerable(&self, connection: &Connection) -> bool {
        let proxy = connection.proxy;
        // The process that follows one that died reaches storage.
        let ends = |b| b == Broken::StreamsMended { proxy } || b == Broken::Proxy { proxy };
        let is_before = |f: &&Fault| f.what == Broken::StreamsBlocked { proxy } && f.at < connection.opened;
        let last = self.faults.iter().rfind(is_before);
        let all_read = connection.all_read.filter(|_| connection.accepted.is_none());
        all_read
            .zip(last)
            .is_some_and(|(at, last)| !self.has_broken(ends, last.at, at))
    }

    /// Whether storage restarted between `from` and `to` while a proxy could not be reached.
    fn was_away(&self, is_restart: impl Fn(Broken) -> bool, proxy: usize, from: At, to: At) -> bool {
        let blocked = self
            .faults
            .iter()
            .filter(|f| f.what == Broken::StreamsBlocked { proxy });
        let mended = Broken::StreamsMended { proxy };
        let restarts = || self.faults.iter().filter(|f| is_restart(f.what));
        blocked.filter(|f| f.at < to).any(|blocked| {
            restarts()
                .filter(|restart| restart.at > from && restart.at < to)
                .any(|restart| !self.has_broken(|b| b == mended, blocked.at, restart.at))
        })
    }

    /// Whether a proxy that was away when storage restarted has found it at this moment, before `to`: what it is told then is
    /// under way, and it cannot tell who came between.
    pub(crate) fn comes_late(&self, proxy: usize, ms: u64, to: At) -> bool {
        let mended = Broken::StreamsMended { proxy };
        let is_now = |f: &&Fault| f.what == mended && f.at < to && f.ms == ms;
        let mut now = self.faults.iter().filter(is_now);
        let is_restart = |b| matches!(b, Broken::Storage | Broken::StorageRestarted);
        now.any(|mended| self.was_away(is_restart, proxy, 0, mended.at))
    }

    /// How often.
    pub(crate) fn times_broken(&self, what: impl Fn(Broken) -> bool, from: At, to: At) -> usize {
        let within = |f: &&Fault| f.at > from && f.at < to && what(f.what);
        self.faults.iter().filter(within).count()
    }

    /// A client pings.
    pub(crate) fn ping(&mut self, connection: usize) {
        let sent = self.next();
        let answered = None;
        self.pings.push(Ping {
            connection,
            sent,
            answered,
        });
    }

    /// The oldest ping of a connection that has no answer has one now. False: there is none.
    pub(crate) fn pong(&mut self, connection: usize) -> bool {
        let answered = self.next();
        let is_one = |p: &&mut Ping| p.connection == connection && p.answered.is_none();
        let ping = self.pings.iter_mut().find(is_one);
        ping.map(|ping| ping.answered = Some(answered)).is_some()
    }

    /// Pings of a connection that have no answer.
    pub(crate) fn unanswered_pings(&self, connection: usize) -> usize {
        let is_one = |p: &&Ping| p.connection == connection && p.answered.is_none();
        self.pings.iter().filter(is_one).count()
    }

    /// The session of a connection; none: CONNECT was not accepted.
    pub(crate) fn session_of(&self, connection: usize) -> Option<usize> {
        Some(self.connections.get(connection)?.accepted?.session)
    }

    /// Sessions whose subscriptions are known.
    pub(crate) fn known_sessions(&self) -> impl Iterator<Item = (usize, &Session)> {
        self.sessions
            .iter()
            .enumerate()
            .filter(|(_, session)| !session.is_unknown)
    }

    /// Whether anything broke at all.
    pub(crate) fn has_any_broken(&self) -> bool {
        self.has_broken(|b| !matches!(b, Broken::StreamsMended { .. }), 0, At::MAX)
    }

    /// Requests of a session that concern a filter, in the order in which they were sent.
    pub(crate) fn requests_of(&self, session: usize) -> impl Iterator<Item = &Request> {
        self.requests
            .iter()
            .filter(move |r| self.session_of(r.connection) == Some(session))
    }
}

impl Connection {
    /// Whether the client was connected when everything had come to rest.
    pub(crate) fn is_alive(&self) -> bool {
        self.accepted.is_some() && self.ended.is_none()
    }
}
