//! What happens in a random history of stored sessions.

use proptest::prelude::*;

use super::super::*;
use super::{CLIENTS, PROXY_COUNT};

/// One thing that happens.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Connects, taking over a connection that is there; `tell`: the client gets its answer, if it is of a new session.
    Connect {
        client: usize,
        proxy: usize,
        clean: bool,
        tell: bool,
    },
    /// The connection ends; what was acknowledged is flushed or not.
    Disconnect {
        client: usize,
        flush: bool,
        end: bool,
    },
    Subscribe {
        client: usize,
        filter: usize,
    },
    Unsubscribe {
        client: usize,
        filter: usize,
    },
    /// A filter is asked for and never taken.
    Abandon {
        client: usize,
        filter: usize,
    },
    Publish {
        topic: usize,
        qos: QoS,
        retain: bool,
    },
    /// Reads up to `count` messages at a shard, and acknowledges them, or lets the connection forget them.
    Pull {
        client: usize,
        shard: u16,
        count: u32,
        acknowledge: bool,
    },
    Flush {
        client: usize,
    },
    Pass {
        ms: u64,
    },
    /// A proxy is silent until its lease has ended, and comes back as another incarnation, without connections.
    LoseProxy {
        proxy: usize,
    },
}

/// Any of them, the common ones more often.
pub(super) fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS.len();
    let filter = 0..FILTERS.len();
    let qos = prop_oneof![1 => Just(QoS::AtMostOnce), 4 => Just(QoS::AtLeastOnce), 2 => Just(QoS::ExactlyOnce)];
    prop_oneof![
        5 => (client.clone(), 0..PROXY_COUNT, prop::bool::weighted(0.15), prop::bool::weighted(0.7))
            .prop_map(|(client, proxy, clean, tell)| Step::Connect { client, proxy, clean, tell }),
        3 => (client.clone(), any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(client, flush, end)| Step::Disconnect { client, flush, end }),
        6 => (client.clone(), filter.clone()).prop_map(|(client, filter)| Step::Subscribe { client, filter }),
        2 => (client.clone(), filter.clone()).prop_map(|(client, filter)| Step::Unsubscribe { client, filter }),
        1 => (client.clone(), filter).prop_map(|(client, filter)| Step::Abandon { client, filter }),
        14 => (0..TOPICS.len(), qos, prop::bool::weighted(0.2))
            .prop_map(|(topic, qos, retain)| Step::Publish { topic, qos, retain }),
        8 => (client.clone(), 0..3_u16, 1..6_u32, prop::bool::weighted(0.8))
            .prop_map(|(client, shard, count, acknowledge)| Step::Pull { client, shard, count, acknowledge }),
        4 => client.prop_map(|client| Step::Flush { client }),
        4 => (1..3_000_u64).prop_map(|ms| Step::Pass { ms }),
        1 => (0..PROXY_COUNT).prop_map(|proxy| Step::LoseProxy { proxy }),
    ]
}
