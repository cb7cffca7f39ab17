//! Emptying proxies that leave: all victims of one action together, at the pace that the receivers take, in time.
//!
//! A proxy that hands over has left the Service; its order begins when no Service sends to it any more. It may be told to
//! stop when its clients have gone, or there is no use in waiting. Until then its pod stays.

use freshet_config::{MoveOrder, MoveReason};

use super::{MoveInput, MovesPlan, hands_over, millis, next_pace, server_references, share, takes};
use crate::observe::{Observed, ProxyPod};
use crate::plan::proxies::DRAINED_COST;

/// Part of the time in which all clients should have gone, in percent; the rest is for what is in flight.
const ASKED_WITHIN_PERCENT: u64 = 80;

/// A proxy that hands over its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// UID of the pod.
    pub uid: String,
    /// Name of the pod.
    pub pod: String,
    /// Revision of the pod.
    pub revision: String,
    /// When it began, in milliseconds since the Unix epoch; 0: its order is not written yet.
    pub started_ms: u64,
    /// Clients that are left; none: not known.
    pub clients_left: Option<u64>,
    /// Of these, those that finish what they have in flight.
    pub finishing: u64,
    /// Of these, those whose session ends with the connection.
    pub at_risk: u64,
    /// Clients that it moves per second.
    pub per_second: u32,
    /// Why it may be told to stop, once it may.
    pub end: Option<DrainEnd>,
    /// That its drain has ended was written to its pod before.
    pub is_told: bool,
}

/// Why a proxy that hands over may be told to stop. With clients left it goes on by itself then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainEnd {
    /// All clients have gone.
    Drained,
    /// `drain.timeout` is over.
    Deadline,
    /// It has not answered for a while: nothing is gained by asking on.
    NoAnswer,
    /// It is of a release that knows no orders.
    KnowsNoOrders,
    /// Nobody takes its clients.
    NoReceiver,
}

impl DrainEnd {
    /// The word for Events, logs and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Deadline => "deadline",
            Self::NoAnswer => "no_answer",
            Self::KnowsNoOrders => "knows_no_orders",
            Self::NoReceiver => "no_receiver",
        }
    }
}

/// Plans the drains.
pub(super) fn plan(observed: &Observed, input: &MoveInput<'_>, plan: &mut MovesPlan) {
    let leaving: Vec<&ProxyPod> = observed.proxies.iter().filter(|proxy| hands_over(proxy)).collect();
    let has_receiver = observed.proxies.iter().any(takes);
    let pace = Pace::of(&leaving, input);
    for proxy in leaving {
        let order = proxy.order.as_ref().filter(|order| order.reason == MoveReason::Drain);
        let end = end_of(proxy, order, has_receiver, input);
        let wanted = pace.of_one(input.samples.of(proxy).map(|sample| sample.clients), order);
        let next = match order {
            _ if end.is_some() => None,
            Some(order) => {
                let per_second = next_pace(order, wanted, input.now_ms);
                (per_second != order.clients_per_second).then(|| MoveOrder {
                    clients_per_second: per_second,
                    written_ms: input.now_ms,
                    server_references: server_references(observed, &input.settings.server_reference),
                    ..order.clone()
                })
            }
            None => Some(first_order(wanted, observed, input)),
        };
        let sample = input.samples.of(proxy);
        plan.drains.push(Drain {
            uid: proxy.pod.uid.clone(),
            pod: proxy.pod.name.clone(),
            revision: proxy.revision.clone(),
            started_ms: order.map_or(0, |order| order.given_ms),
            clients_left: sample.map(|sample| sample.clients),
            finishing: sample.map_or(0, |sample| sample.finishing),
            at_risk: sample.map_or(0, |sample| sample.at_risk),
            per_second: next.as_ref().or(order).map_or(0, |order| order.clients_per_second),
            end,
            is_told: proxy.deletion_cost == Some(DRAINED_COST),
        });
        if next.is_some() {
            plan.write(proxy, next);
        }
    }
}

fn first_order(per_second: u32, observed: &Observed, input: &MoveInput<'_>) -> MoveOrder {
    let from_ms = input.now_ms + millis(input.settings.linger);
    MoveOrder {
        reason: MoveReason::Drain,
        clients_per_second: per_second,
        given_ms: input.now_ms,
        from_ms,
        until_ms: from_ms + millis(input.settings.timeout),
        written_ms: input.now_ms,
        server_references: server_references(observed, &input.settings.server_reference),
        ..MoveOrder::default()
    }
}

/// The pace of all that hand over, and how it is shared.
struct Pace {
    /// Clients per second, of all together.
    per_second: u32,
    /// Clients that are left, as far as they are known.
    clients: u64,
    proxies: u64,
    /// Of these, those of which that is not known.
    unknown: u64,
}

impl Pace {
    fn of(leaving: &[&ProxyPod], input: &MoveInput<'_>) -> Self {
        let known = leaving.iter().filter_map(|proxy| input.samples.of(proxy));
        let (count, clients) = known.fold((0, 0), |(count, sum), sample| (count + 1, sum + sample.clients));
        let proxies = leaving.len() as u64;
        Self {
            per_second: pace_of_all(leaving, clients, input),
            clients,
            proxies,
            unknown: proxies.saturating_sub(count),
        }
    }

    /// The part of one with so many clients. Where that is not known, as when the operator has just started, it goes on as it
    /// was told; one that was told nothing begins with an equal part, which is safe: the pace of all is what the receivers
    /// take. Nobody moves while they take none.
    fn of_one(&self, clients: Option<u64>, order: Option<&MoveOrder>) -> u32 {
        let told = order.map_or(0, |order| order.clients_per_second).min(self.per_second);
        match clients {
            Some(clients) => {
                let of_known = share(self.per_second, self.proxies - self.unknown, self.proxies);
                share(of_known, clients, self.clients)
            }
            None if told > 0 => told,
            None => share(self.per_second, 1, self.proxies),
        }
    }
}

/// Clients per second that all of them move: what the receivers take, or more where the time asks for it, up to the bound
/// of the resource. While the receivers take none, none: clients that cannot connect are better where they are.
fn pace_of_all(leaving: &[&ProxyPod], all: u64, input: &MoveInput<'_>) -> u32 {
    if input.per_second == 0 {
        return 0;
    }
    let until_ms = leaving
        .iter()
        .filter_map(|proxy| proxy.order.as_ref())
        .filter(|order| order.reason == MoveReason::Drain)
        .map(|order| order.until_ms)
        .min();
    let left_ms = until_ms.map_or(millis(input.settings.timeout), |until| {
        until.saturating_sub(input.now_ms)
    });
    let within_ms = (left_ms.saturating_mul(ASKED_WITHIN_PERCENT) / 100).max(1);
    let needed = u128::from(all) * 1_000 / u128::from(within_ms);
    let needed = u32::try_from(needed).unwrap_or(u32::MAX);
    input.per_second.max(needed).min(input.settings.drain_max_per_second)
}

fn end_of(proxy: &ProxyPod, order: Option<&MoveOrder>, has_receiver: bool, input: &MoveInput<'_>) -> Option<DrainEnd> {
    let sample = input.samples.of(proxy);
    let has_begun = order.is_some_and(|order| input.now_ms >= order.from_ms);
    match sample {
        Some(sample) if !sample.takes_orders => Some(DrainEnd::KnowsNoOrders),
        Some(sample) if sample.clients == 0 && has_begun => Some(DrainEnd::Drained),
        _ if order.is_some_and(|order| input.now_ms >= order.until_ms) => Some(DrainEnd::Deadline),
        _ if !has_receiver => Some(DrainEnd::NoReceiver),
        None if input.samples.silent.contains(&proxy.pod.uid) => Some(DrainEnd::NoAnswer),
        _ => None,
    }
}
