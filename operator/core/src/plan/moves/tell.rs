//! What is remembered of one cluster's proxies to move clients by: their last answers, and the pace that was found.
//!
//! Told of each answer of `/loadz`, and once a second of the pods; read by the cluster's reconcile. Losing it costs some
//! seconds in which a drain goes on as it was told, and a rest of those that were just moved.

use std::collections::HashMap;
use std::time::Duration;

use freshet_load::Load;

use super::{
    MoveInput, MoveRate, MoveSettings, MovesPlan, ProxySample, Rebalanced, Samples, anybody_leaves, is_moving,
    plan_moves, receivers,
};
use crate::observe::Observed;

/// An answer of this age still says what is there.
const SAMPLE_MAX_AGE: Duration = Duration::from_secs(3);
/// A proxy that has not answered for so long is not waited for.
const SILENT_AFTER: Duration = Duration::from_secs(15);

/// What is remembered of one cluster.
#[derive(Debug, Clone, Default)]
pub struct Teller {
    proxies: HashMap<String, Heard>,
    rate: MoveRate,
    rebalanced: Option<Rebalanced>,
    last_leaving_ms: Option<u64>,
}

#[derive(Debug, Clone)]
struct Heard {
    first_asked: Duration,
    last: Option<(Duration, ProxySample)>,
}

impl Teller {
    /// A proxy was asked, and has answered or not. Times are on a clock that only goes forward.
    pub fn take(&mut self, uid: &str, load: Option<&Load>, at: Duration) {
        let heard = self.proxies.entry(uid.to_owned()).or_insert(Heard {
            first_asked: at,
            last: None,
        });
        if let Some(sample) = load.and_then(sample_of) {
            heard.last = Some((at, sample));
        }
    }

    /// What is known now.
    fn samples(&self, at: Duration) -> Samples {
        let mut samples = Samples::default();
        for (uid, heard) in &self.proxies {
            let since = heard.last.map_or(heard.first_asked, |(at, _)| at);
            let age = at.saturating_sub(since);
            match heard.last {
                Some((_, sample)) if age <= SAMPLE_MAX_AGE => {
                    samples.known.insert(uid.clone(), sample);
                }
                _ if age >= SILENT_AFTER => {
                    samples.silent.insert(uid.clone());
                }
                _ => {}
            }
        }
        samples
    }

    /// Plans which clients move next.
    pub fn plan(&self, observed: &Observed, settings: &MoveSettings, at: Duration, now_ms: u64) -> MovesPlan {
        let input = MoveInput {
            settings,
            samples: &self.samples(at),
            per_second: self.rate.per_second(settings.max_per_second(observed)),
            rebalanced: self.rebalanced,
            last_leaving_ms: self.last_leaving_ms,
            now_ms,
        };
        plan_moves(observed, &input)
    }

    /// A rebalance has ended.
    pub fn note_end(&mut self, ended: Rebalanced) {
        self.rebalanced = Some(ended);
    }

    /// Forgets proxies that are no more, takes up how the receivers are, and says whether clients move or are to.
    pub fn tick(&mut self, observed: &Observed, settings: &MoveSettings, at: Duration, now_ms: u64) -> bool {
        if self.proxies.len() > observed.proxies.len() {
            self.proxies
                .retain(|uid, _| observed.proxies.iter().any(|proxy| proxy.pod.uid == *uid));
        }
        let samples = self.samples(at);
        if anybody_leaves(observed, &samples) {
            self.last_leaving_ms = Some(now_ms);
        }
        if is_moving(observed) {
            let receivers = receivers(observed, &samples);
            let max = settings.max_per_second(observed);
            self.rate.tick(receivers, settings.connack_p99_limit, max, at);
            return true;
        }
        self.rate.end();
        !self.plan(observed, settings, at, now_ms).writes.is_empty()
    }
}

/// More clients than a proxy has, whatever it says: so that they can be added up.
const CLIENTS_MAX: u64 = 1 << 32;

/// None: its workers have not all answered, so that nobody knows how many clients it has.
fn sample_of(load: &Load) -> Option<ProxySample> {
    let moves = load.moves.as_ref();
    Some(ProxySample {
        clients: load.clients?.min(CLIENTS_MAX),
        finishing: moves.map_or(0, |moves| moves.finishing.min(CLIENTS_MAX)),
        at_risk: moves.map_or(0, |moves| moves.at_risk.min(CLIENTS_MAX)),
        takes_orders: moves.is_some(),
        connack_p99_ms: load.connacks.as_ref().map(|connacks| connacks.p99_ms),
        attaching: load.attaching_clients.unwrap_or(0).min(CLIENTS_MAX),
        has_storage: load.storage_attached,
    })
}

#[cfg(test)]
mod tests;
