//! Resizes that the API server has refused: of proxies, and of claims. They are asked again after a while, and until then a
//! condition says what was said.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use freshet_operator_core::observe::Observed;
use freshet_operator_core::status::RefusedResizes;

use super::BLOCKED_RETRY;

/// Resizes of one cluster that were refused, by the UID of the pod or claim.
#[derive(Debug, Default)]
pub(super) struct Refusals(HashMap<String, Refusal>);

#[derive(Debug)]
struct Refusal {
    at: Instant,
    message: String,
}

impl Refusals {
    /// Forgets pods and claims that are gone.
    pub(super) fn keep_only(&mut self, observed: &Observed) {
        let is_there = |uid: &String| {
            observed.proxies.iter().any(|proxy| proxy.pod.uid == *uid)
                || observed.storage_claims.iter().any(|claim| claim.uid == *uid)
        };
        self.0.retain(|uid, _| is_there(uid));
    }

    /// What was said.
    pub(super) fn known(&self) -> RefusedResizes {
        let said = |(uid, refusal): (&String, &Refusal)| (uid.clone(), refusal.message.clone());
        self.0.iter().map(said).collect()
    }

    /// When to look again; nothing when nothing was refused. Not what is left of a pause: nobody may ask after it, as while
    /// the cluster is paused.
    pub(super) fn look_again_after(&self) -> Option<Duration> {
        (!self.0.is_empty()).then_some(BLOCKED_RETRY)
    }

    /// Whether it was not refused just now.
    pub(super) fn is_due(&self, uid: &str) -> bool {
        self.0
            .get(uid)
            .is_none_or(|refusal| refusal.at.elapsed() >= BLOCKED_RETRY)
    }

    /// Keeps what was said.
    pub(super) fn insert(&mut self, uid: String, message: String) {
        let at = Instant::now();
        self.0.insert(uid, Refusal { at, message });
    }

    /// Forgets what was said: it was not refused any more.
    pub(super) fn remove(&mut self, uid: &str) {
        self.0.remove(uid);
    }
}
