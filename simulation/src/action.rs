//! What can happen in a sequence.
//!
//! Actions name clients by slot and stand on their own: one that makes no sense where it comes (a publication of a
//! client that is not connected) does nothing, so that any action can be left out of a sequence.

use std::fmt;

use freshet_config::SharedStrategy;
use freshet_mqtt::{ProtocolVersion, QoS, RetainHandling};

/// Clients that a sequence can have at once.
pub(crate) const SLOTS: usize = 6;
/// Client ids that they share: the last slots are second connections of the first clients.
pub(crate) const IDENTITIES: usize = 4;

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A client connects; the slot's former connection is dropped first.
    Open {
        /// The slot.
        slot: usize,
        /// Where it connects.
        proxy: usize,
        /// How.
        options: OpenOptions,
    },
    /// SUBSCRIBE.
    Subscribe {
        /// The slot.
        slot: usize,
        /// Filters with their options.
        filters: Vec<(&'static str, SubscribeOptions)>,
        /// Subscription Identifier (5.0 only); 0: none.
        identifier: u32,
    },
    /// UNSUBSCRIBE.
    Unsubscribe {
        /// The slot.
        slot: usize,
        /// The filters.
        filters: Vec<&'static str>,
    },
    /// PUBLISH.
    Publish {
        /// The slot.
        slot: usize,
        /// Topic Name.
        topic: &'static str,
        /// QoS.
        qos: QoS,
        /// RETAIN.
        retain: bool,
        /// The payload is empty.
        empty: bool,
        /// Bytes behind the number that tells messages apart.
        padding: usize,
        /// Message Expiry Interval (5.0 only), seconds; 0: none.
        expiry_s: u32,
        /// Whether a topic alias is used (5.0 only).
        alias: bool,
    },
    /// The last PUBLISH that has no answer is sent again on the same connection, as some devices do every second.
    Repeat {
        /// The slot.
        slot: usize,
    },
    /// Acknowledgements that a lazy client owes.
    Acknowledge {
        /// The slot.
        slot: usize,
        /// How many.
        count: usize,
        /// The last one first.
        backwards: bool,
    },
    /// The next acknowledgement that a lazy client owes for a message says that it cannot take it (5.0 only).
    Refuse {
        /// The slot.
        slot: usize,
    },
    /// PUBREL of a packet id that the server does not know.
    StrayRelease {
        /// The slot.
        slot: usize,
    },
    /// PINGREQ.
    Ping {
        /// The slot.
        slot: usize,
    },
    /// The client stops reading, or goes on.
    Deafen {
        /// The slot.
        slot: usize,
        /// Whether it stops.
        deaf: bool,
    },
    /// DISCONNECT and the end of the connection.
    Disconnect {
        /// The slot.
        slot: usize,
        /// Reason code 0x04 (5.0 only): the will is wanted.
        with_will: bool,
    },
    /// The end of the connection without DISCONNECT.
    HangUp {
        /// The slot.
        slot: usize,
        /// Whether what is on its way, in both directions, is lost.
        lossy: bool,
    },
    /// Time passes.
    Pass {
        /// Milliseconds.
        ms: u64,
    },
    /// Things arrive until the client has the answers that it waits for; what comes next comes right behind them.
    Await {
        /// The slot.
        slot: usize,
    },
    /// All that is under way arrives.
    Settle,
    /// The streams between a proxy and storage break, and stay broken.
    Cut {
        /// The proxy.
        proxy: usize,
        /// Whether storage learns of it at once; else when the proxy is back, or its lease ends.
        noticed: bool,
    },
    /// Nothing moves between a proxy and storage.
    Freeze {
        /// The proxy.
        proxy: usize,
    },
    /// Cut and freeze are over.
    Mend {
        /// The proxy.
        proxy: usize,
    },
    /// A proxy's process dies; a new one takes its place.
    Crash {
        /// The proxy.
        proxy: usize,
        /// Whether storage learns of it before the lease ends.
        noticed: bool,
    },
    /// Storage dies and comes back with what it has kept, [`Memory`].
    RestartStorage,
}

/// How a client connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenOptions {
    /// Protocol version.
    pub version: ProtocolVersion,
    /// Clean Start, Clean Session.
    pub clean_start: bool,
    /// Session Expiry Interval (5.0 only), seconds.
    pub expiry_s: u32,
    /// Receive Maximum (5.0 only); 0: not said.
    pub receive_maximum: u16,
    /// Maximum Packet Size (5.0 only); 0: not said.
    pub max_packet_bytes: u32,
    /// Topic Alias Maximum (5.0 only).
    pub alias_maximum: u16,
    /// The will.
    pub will: Option<WillOptions>,
    /// Acknowledges only when an action says so.
    pub lazy: bool,
}

/// For how long a 3.1.1 session outlives its connection, seconds.
pub(crate) const SESSION_EXPIRY_311_S: u32 = 60;

impl OpenOptions {
    /// For how long the session outlives the connection, seconds.
    pub(crate) fn session_expiry_s(&self) -> u32 {
        match self.version {
            ProtocolVersion::V5 => self.expiry_s,
            _ if self.clean_start => 0,
            _ => SESSION_EXPIRY_311_S,
        }
    }
}

/// A will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WillOptions {
    /// Topic Name.
    pub topic: &'static str,
    /// QoS.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// Will Delay Interval (5.0 only), seconds.
    pub delay_s: u32,
}

/// Options of a subscription; all but the QoS are 5.0 only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// Maximum QoS.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling.
    pub retain_handling: RetainHandling,
}

/// An action and the order in which things happen behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The action.
    pub action: Action,
    /// Seed of what arrives, and when, until the next action; none: everything arrives.
    pub schedule: Option<u64>,
}

/// What a storage node keeps when its process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Nothing. What is proposed is committed at once.
    Process,
    /// What was flushed, and perhaps some of what was about to be. What is proposed is committed when it is flushed.
    Disk,
}

/// What happens in one world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// What it was drawn from.
    pub seed: u64,
    /// Proxies.
    pub proxies: usize,
    /// Workers of each.
    pub workers: u16,
    /// Shards of the storage node.
    pub shards: u16,
    /// How members of shared subscriptions are chosen.
    pub strategy: SharedStrategy,
    /// What storage has when it comes back.
    pub memory: Memory,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {:#x}: {} proxies of {} workers, {} shards, {:?}, {:?}",
            self.seed, self.proxies, self.workers, self.shards, self.strategy, self.memory
        )?;
        for step in &self.steps {
            let order = if step.schedule.is_some() { "" } else { "  (all arrives)" };
            writeln!(f, "  {:?}{order}", step.action)?;
        }
        Ok(())
    }
}
