//! Clients on the move: which proxies give how many away, how fast, and when one that hands over may be removed.
//!
//! Called once per reconcile before `plan_proxies`, which knows the roles; this knows the clients. What is decided stands
//! in an annotation of each pod (`freshet_config::MoveOrder`), so that an operator killed anywhere goes on from there, and
//! the proxy from what it was told last. [`drain`] empties proxies that leave, [`rebalance`] evens out those that stay,
//! [`rate`] finds how many clients may move per second. Leaves out how clients are chosen and moved: that is the proxy's.

mod drain;
mod rate;
mod rebalance;
mod settings;
mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use freshet_config::{MoveOrder, MoveReason, REFERENCES_MAX};

use crate::observe::{Observed, ProxyPod, Role};

pub use drain::{Drain, DrainEnd};
use rate::{MoveRate, Receivers};
pub use rebalance::Rebalanced;
pub use tell::Teller;

/// How clients are moved, as the resource says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MoveSettings {
    /// Whether proxies that serve are evened out.
    pub steers: bool,
    /// How far from even they may be, in percent of the mean.
    pub within_percent: u32,
    /// Clients per second that a rebalance moves at most.
    pub rebalance_max_per_second: u32,
    /// Clients per second that all drains together move at most.
    pub drain_max_per_second: u32,
    /// What the receivers' P99 from CONNECT to CONNACK may become.
    pub connack_p99_limit: Duration,
    /// Template of the server reference, with `{pod}`; empty: none is told.
    pub server_reference: String,
    /// How long Services may still send connections to a proxy that has left them.
    pub linger: Duration,
    /// How long a drain may take.
    pub timeout: Duration,
}

impl MoveSettings {
    /// Clients per second that move at most: while proxies leave, nobody else moves. A pace that was found beyond its bound
    /// could be halved without a client moving more slowly.
    fn max_per_second(&self, observed: &Observed) -> u32 {
        if observed.proxies.iter().any(hands_over) {
            self.drain_max_per_second
        } else {
            self.rebalance_max_per_second
        }
    }
}

/// What a proxy has said lately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ProxySample {
    /// Connected clients.
    clients: u64,
    /// Clients that were asked to go and finish what they have in flight.
    finishing: u64,
    /// Of these, those whose session ends with the connection.
    at_risk: u64,
    /// It reads its orders; one of an earlier release does not.
    takes_orders: bool,
    /// Of the last seconds; none: nobody connected.
    connack_p99_ms: Option<u32>,
    /// Clients whose CONNECT waits for storage.
    attaching: u64,
    /// Storage is attached.
    has_storage: bool,
}

/// What is known of the proxies, by the UID of the pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Samples {
    /// Those that have answered lately.
    known: BTreeMap<String, ProxySample>,
    /// Those that were asked for a while and have not answered.
    silent: BTreeSet<String>,
}

/// What moves are planned from, beside what was observed.
#[derive(Debug, Clone, Copy)]
struct MoveInput<'a> {
    /// How clients are moved.
    settings: &'a MoveSettings,
    /// What the proxies have said.
    samples: &'a Samples,
    /// Clients per second that the receivers take now; 0: none.
    per_second: u32,
    /// The last rebalance that has ended, as far as it is known.
    rebalanced: Option<Rebalanced>,
    /// When a proxy that leaves was last seen to have clients, as far as it is known.
    last_leaving_ms: Option<u64>,
    /// Since the Unix epoch, in milliseconds.
    now_ms: u64,
}

/// What clients do next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MovesPlan {
    /// Orders that are given, changed or withdrawn.
    pub writes: Vec<OrderWrite>,
    /// Proxies, by UID, that serve and get no new connections for now.
    pub steered: BTreeSet<String>,
    /// Proxies that hand over, and how far they are.
    pub drains: Vec<Drain>,
    /// A rebalance begins with this plan: clients that it moves.
    pub begins: Option<u64>,
    /// One ends with it.
    pub ends: Option<Rebalanced>,
}

/// What is written to a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderWrite {
    /// UID of the pod.
    pub uid: String,
    /// Name of the pod.
    pub pod: String,
    /// What the write must still find.
    pub resource_version: String,
    /// The order; none: the one that is there is withdrawn.
    pub order: Option<MoveOrder>,
}

/// For clusters whose clients are left where they are.
pub(crate) static NO_MOVES: MovesPlan = MovesPlan {
    writes: Vec::new(),
    steered: BTreeSet::new(),
    drains: Vec::new(),
    begins: None,
    ends: None,
};

impl MovesPlan {
    /// Whether a proxy that hands over may be told to stop. One of which nothing is planned may: it drains by itself.
    pub fn may_go(&self, uid: &str) -> bool {
        self.drain_of(uid).is_none_or(|drain| drain.end.is_some())
    }

    /// Whether a proxy hands over, and goes on with it.
    pub fn is_giving(&self, uid: &str) -> bool {
        self.drain_of(uid).is_some_and(|drain| drain.end.is_none())
    }

    /// Whether a proxy that hands over has no client any more.
    pub fn has_given_all(&self, uid: &str) -> bool {
        self.drain_of(uid)
            .is_some_and(|drain| drain.end == Some(DrainEnd::Drained))
    }

    fn drain_of(&self, uid: &str) -> Option<&Drain> {
        self.drains.iter().find(|drain| drain.uid == uid)
    }

    /// Whether a proxy serves and gets no new connections for now.
    pub fn is_steered(&self, uid: &str) -> bool {
        self.steered.contains(uid)
    }

    fn write(&mut self, proxy: &ProxyPod, order: Option<MoveOrder>) {
        if proxy.order != order {
            self.writes.push(OrderWrite {
                uid: proxy.pod.uid.clone(),
                pod: proxy.pod.name.clone(),
                resource_version: proxy.pod.resource_version.clone(),
                order,
            });
        }
    }
}

impl Samples {
    fn of(&self, proxy: &ProxyPod) -> Option<&ProxySample> {
        self.known.get(&proxy.pod.uid)
    }
}

/// Plans which clients move next.
fn plan_moves(observed: &Observed, input: &MoveInput<'_>) -> MovesPlan {
    let mut plan = MovesPlan::default();
    drain::plan(observed, input, &mut plan);
    rebalance::plan(observed, input, &mut plan);
    for proxy in observed.proxies.iter().filter(|proxy| !proxy.pod.is_deleting) {
        let is_stale = match (&proxy.order, proxy.role) {
            (None, _) => false,
            (Some(order), Some(Role::Active)) => order.reason == MoveReason::Drain,
            (Some(_), Some(Role::Draining)) => false,
            (Some(_), _) => true,
        };
        if is_stale {
            plan.write(proxy, None);
        }
    }
    plan
}

/// Whether clients are moved, or are to be: then it is worth to look every second.
fn is_moving(observed: &Observed) -> bool {
    let alive = observed.proxies.iter().filter(|proxy| !proxy.pod.is_deleting);
    alive
        .into_iter()
        .any(|proxy| proxy.order.is_some() || hands_over(proxy))
}

/// Whether a proxy leaves, by an order or on its way to one.
fn hands_over(proxy: &ProxyPod) -> bool {
    proxy.role == Some(Role::Draining) && !proxy.pod.is_deleting
}

/// Whether clients of a proxy that leaves are still to come to others: one that hands over, or that was told to stop by
/// whomever and says that it has some.
fn anybody_leaves(observed: &Observed, samples: &Samples) -> bool {
    let has_clients = |proxy: &ProxyPod| samples.of(proxy).is_some_and(|sample| sample.clients > 0);
    let mut proxies = observed.proxies.iter();
    proxies.any(|proxy| hands_over(proxy) || proxy.pod.is_deleting && has_clients(proxy))
}

/// What those that take clients say, for the pace.
fn receivers(observed: &Observed, samples: &Samples) -> Receivers {
    let known = observed.proxies.iter().filter(|proxy| takes(proxy));
    known
        .filter_map(|proxy| samples.of(proxy))
        .fold(Receivers::default(), |sum, sample| Receivers {
            known: sum.known + 1,
            connack_p99_ms: sum.connack_p99_ms.max(sample.connack_p99_ms),
            attaching: sum.attaching + sample.attaching,
            is_storage_away: sum.is_storage_away || !sample.has_storage,
        })
}

/// Whether new connections come to the proxy.
fn takes(proxy: &ProxyPod) -> bool {
    proxy.is_active() && proxy.is_accepting && proxy.pod.is_ready
}

/// Where clients are told to go.
fn server_references(observed: &Observed, template: &str) -> Vec<String> {
    if template.is_empty() {
        return Vec::new();
    }
    let receivers = observed.proxies.iter().filter(|proxy| takes(proxy));
    receivers
        .take(REFERENCES_MAX)
        .map(|proxy| template.replace("{pod}", &proxy.pod.name))
        .collect()
}

/// How soon the pace of an order is written again.
const REWRITE_MS: u64 = 1_500;

/// The pace of an order from now on. Each write goes to etcd and to the kubelet, so that small differences are let be, and a
/// pause, or half of what was, is not put off.
fn next_pace(order: &MoveOrder, wanted: u32, now_ms: u64) -> u32 {
    let was = order.clients_per_second;
    let is_urgent = wanted <= was / 2;
    let differs = wanted.abs_diff(was) > was / 4;
    let is_time = now_ms.saturating_sub(order.written_ms) >= REWRITE_MS;
    if is_urgent || differs && is_time { wanted } else { was }
}

/// `part` of `whole` of something, rounded up.
fn share(something: u32, part: u64, whole: u64) -> u32 {
    let share = (u128::from(something) * u128::from(part)).div_ceil(u128::from(whole.max(1)));
    u32::try_from(share).unwrap_or(u32::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
