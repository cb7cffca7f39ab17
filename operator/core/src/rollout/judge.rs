//! How a new revision does beside the one before: by the connections that came to nothing, and by the round trip of publishes.
//!
//! Both are measured over the same time and the same clients, for the Service deals new connections evenly. What ends
//! without an accepted CONNECT is a failure whatever the reason was; a port scan or a load balancer's probe counts against both.

use std::collections::{HashMap, HashSet};

use freshet_load::Load;

use super::RolloutSettings;
use crate::observe::{Observed, ProxyPod};

/// Connections that a new revision must have had before it is judged by them.
const LEAST_CONNECTIONS: u64 = 10;
/// Failures that are too few to say anything.
const LEAST_FAILURES: u64 = 3;
/// Publications within the window of a P99 before it counts.
const LEAST_PUBLICATIONS: u64 = 20;
/// A rise by less than this is noise, whatever part it is.
const LEAST_RISE_MS: u64 = 10;

/// What proxies said last, by the UID of the pod.
pub type Loads = HashMap<String, Load>;

/// How the target revision does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// No worse than the others, as far as is allowed.
    AsGood,
    /// Worse, with the figure.
    Worse(String),
    /// It has had too little to do.
    NotEnoughData,
}

/// What the counters of the proxies stood at when the rollout was first looked at. Those of processes that have started
/// since count from their start: a canary may have failed at much before it is asked for the first time. Only kept in
/// memory: an operator that starts in between looks from then on.
#[derive(Debug, Clone, Default)]
pub struct RolloutMemory {
    target: String,
    /// Proxies that were there then, by UID.
    older: HashSet<String>,
    base: Loads,
}

impl RolloutMemory {
    /// Remembers where a rollout to `target` begins.
    pub fn begin(&mut self, target: &str, observed: &Observed, loads: &Loads) {
        if self.target != target {
            target.clone_into(&mut self.target);
            self.older = observed.proxies.iter().map(|proxy| proxy.pod.uid.clone()).collect();
            self.base.clear();
        }
        for (uid, load) in loads.iter().filter(|(uid, _)| self.older.contains(*uid)) {
            let base = self.base.entry(uid.clone()).or_insert_with(|| load.clone());
            if base.incarnation != load.incarnation {
                *base = Load {
                    incarnation: load.incarnation,
                    ..Load::default()
                };
            }
        }
        self.base.retain(|uid, _| loads.contains_key(uid));
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    /// Connections that were taken and are over, or whose CONNECT was accepted.
    connections: u64,
    /// Of these, without an accepted CONNECT.
    failures: u64,
    publications: u64,
    round_trip_p99_ms: u64,
}

/// Compares the proxies of `target` with the others that serve.
pub fn judge(
    target: &str,
    settings: &RolloutSettings,
    observed: &Observed,
    loads: &Loads,
    memory: &RolloutMemory,
) -> Judgement {
    let of = |is_target: bool| {
        let is_it = |proxy: &&ProxyPod| (proxy.revision == target) == is_target && proxy.is_active();
        let uids = observed.proxies.iter().filter(is_it).map(|proxy| &proxy.pod.uid);
        figures(uids.filter_map(|uid| Some((loads.get(uid)?, memory.base.get(uid)))))
    };
    let (new, old) = (of(true), of(false));
    let (new_percent, old_percent) = (new.failure_percent(), old.failure_percent());
    let is_known = new.connections >= LEAST_CONNECTIONS;
    let limit = f64::from(settings.connect_failure_percent);
    if is_known && new.failures >= LEAST_FAILURES && new_percent > old_percent + limit {
        return Judgement::Worse(format!(
            "{new_percent:.1} % of {} connections to revision {target} came to nothing, of those to others {old_percent:.1} %; \
             {limit} % more are allowed",
            new.connections
        ));
    }
    let both_publish = new.publications >= LEAST_PUBLICATIONS && old.publications >= LEAST_PUBLICATIONS;
    let (new_ms, old_ms) = (new.round_trip_p99_ms, old.round_trip_p99_ms);
    let rise_ms = new_ms.saturating_sub(old_ms);
    let allowed_ms = old_ms.saturating_mul(u64::from(settings.round_trip_rise_percent)) / 100;
    if both_publish && rise_ms >= LEAST_RISE_MS && rise_ms > allowed_ms {
        return Judgement::Worse(format!(
            "the P99 of the round trip of publishes is {new_ms} ms at revision {target} and {old_ms} ms at others; \
             {} % more are allowed",
            settings.round_trip_rise_percent
        ));
    }
    if is_known {
        Judgement::AsGood
    } else {
        Judgement::NotEnoughData
    }
}

impl Figures {
    #[allow(clippy::cast_precision_loss)]
    fn failure_percent(self) -> f64 {
        self.failures as f64 * 100.0 / self.connections.max(1) as f64
    }
}

fn figures<'a>(proxies: impl Iterator<Item = (&'a Load, Option<&'a Load>)>) -> Figures {
    let mut sum = Figures::default();
    for (load, base) in proxies {
        let (Some((connections, failures)), (before, failed_before)) = (
            ended_or_accepted(load),
            base.and_then(ended_or_accepted).unwrap_or_default(),
        ) else {
            continue;
        };
        sum.connections += connections.saturating_sub(before);
        sum.failures += failures.saturating_sub(failed_before);
        for round_trip in load.publish_round_trips.iter().filter(|of| of.qos > 0) {
            sum.publications += u64::from(round_trip.count);
            sum.round_trip_p99_ms = sum.round_trip_p99_ms.max(u64::from(round_trip.p99_ms));
        }
    }
    sum
}

/// Connections that do not wait for their CONNECT any more, and those of them that had none that was accepted.
fn ended_or_accepted(load: &Load) -> Option<(u64, u64)> {
    let accepts = load.accepts_total?;
    let waiting = load.connections?.saturating_sub(load.clients?);
    let decided = accepts.saturating_sub(waiting);
    Some((decided, decided.saturating_sub(load.connects_total?)))
}

#[cfg(test)]
mod tests;
