//! Which proxies are dead, by two witnesses: the proxy itself, which does not answer, and storage, where its lease has run
//! out.
//!
//! Called by the reconcile with what was heard of the proxies that are doubted. A dead node keeps its pods `Ready` for most
//! of a minute; what is found here leaves the Service within seconds, and a warm proxy takes its place. Neither witness alone
//! is believed: scrapes fail where the operator's own network does, and a lease runs out where storage's does. Nor are both,
//! for more than a third of those that serve: then it is more likely that the witnesses are cut off than that the proxies
//! are dead. A proxy that answers and has a lease again is an ordinary one, which waits.
//!
//! Leaves out who is asked and when (the operator's binary), and what becomes of a lost proxy ([`crate::plan`]): it counts as
//! one that is not ready, is not made active, and is marked in the same write that takes it out, so that another operator
//! knows.

use std::collections::{BTreeMap, BTreeSet};

use freshet_load::Leases;
use k8s_openapi::api::core::v1::Pod;

use crate::labels;
use crate::observe::{Observed, ProxyPod};

/// Rounds in a row that a proxy must have left unanswered.
pub const MISSED_ROUNDS: u32 = 3;
/// Of the active proxies, at most this part is out for being lost at any time.
const LOST_DIVISOR: usize = 3;

/// Whether a proxy is lost, and is marked as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loss {
    /// It is taken to be dead.
    pub is_lost: bool,
    /// Its pod has the mark ([`labels::LOST`]).
    pub is_marked: bool,
}

/// What storage knows of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// Its lease holds.
    Held,
    /// It had one, which has run out.
    Lost,
    /// Storage was not asked, does not answer, or has never heard of the proxy.
    Unknown,
}

/// What is known of a proxy that is doubted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Testimony {
    /// Rounds in which it did not answer, since it last did.
    pub missed_rounds: u32,
    /// What storage knows of it.
    pub lease: Lease,
}

/// Testimonies by the UID of the pod.
pub type Testimonies = BTreeMap<String, Testimony>;

/// Who was found to be lost, by the names of the pods.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Those that are lost from now on.
    pub lost: Vec<String>,
    /// Active ones against which both witnesses speak, and that would be too many.
    pub withheld: Vec<String>,
}

impl Testimony {
    /// Both witnesses say that it is dead.
    pub fn is_lost(self) -> bool {
        self.missed_rounds >= MISSED_ROUNDS && self.lease == Lease::Lost
    }

    /// Both witnesses say that it is alive.
    pub fn is_alive(self) -> bool {
        self.missed_rounds == 0 && self.lease == Lease::Held
    }
}

/// Whether a proxy's pod is one that can be lost: Kubernetes takes it to be ready, and it is not on its way out. If so, says
/// whether it is marked.
pub fn can_be_lost(pod: &Pod) -> Option<bool> {
    let metadata = &pod.metadata;
    let is_true = |of: Option<&BTreeMap<String, String>>, key: &str, value: &str| {
        of.and_then(|all| all.get(key)).is_some_and(|found| found == value)
    };
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_ready = conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let is_leaving =
        metadata.deletion_timestamp.is_some() || is_true(metadata.labels.as_ref(), labels::ROLE, labels::DRAINING);
    (is_ready && !is_leaving).then(|| is_true(metadata.annotations.as_ref(), labels::LOST, labels::TRUE))
}

/// What storage nodes say of the proxy with this pod. One that says that the lease holds is believed before others.
pub fn lease_of(pod: &str, answers: &[Leases]) -> Lease {
    let any = |of: fn(&Leases) -> &[String]| answers.iter().any(|answer| of(answer).iter().any(|name| name == pod));
    if any(|answer| &answer.held) {
        Lease::Held
    } else if any(|answer| &answer.lost) {
        Lease::Lost
    } else {
        Lease::Unknown
    }
}

/// Decides which proxies are lost, and lets them count as not ready. Without a testimony, what a pod is marked with holds.
pub fn judge_losses(observed: &mut Observed, testimonies: &Testimonies) -> Verdict {
    for proxy in &mut observed.proxies {
        let testimony = testimonies.get(&proxy.pod.uid);
        proxy.loss.is_lost = proxy.loss.is_marked && !testimony.is_some_and(|testimony| testimony.is_alive());
    }
    let is_accused = |proxy: &ProxyPod| {
        let testimony = testimonies.get(&proxy.pod.uid);
        !proxy.loss.is_lost && proxy.pod.is_ready && !proxy.pod.is_deleting && testimony.is_some_and(|of| of.is_lost())
    };
    // Of those that wait, all: it only keeps them from being promoted.
    let (active, waiting): (Vec<&ProxyPod>, Vec<&ProxyPod>) = observed
        .proxies
        .iter()
        .filter(|proxy| is_accused(proxy) && (proxy.is_active() || proxy.is_warm()))
        .partition(|proxy| proxy.is_active());
    let allowed = allowed(observed, is_accused);
    let name = |proxy: &&ProxyPod| proxy.pod.name.clone();
    let verdict = Verdict {
        lost: waiting.iter().chain(active.iter().take(allowed)).map(name).collect(),
        withheld: active.iter().skip(allowed).map(name).collect(),
    };
    let lost: BTreeSet<&String> = verdict.lost.iter().collect();
    for proxy in &mut observed.proxies {
        proxy.loss.is_lost |= lost.contains(&proxy.pod.name);
        proxy.pod.is_ready &= !proxy.loss.is_lost;
    }
    verdict
}

/// How many active proxies more may be lost. Of one or two, a third is none: there, one may be whose place another takes.
fn allowed(observed: &Observed, is_accused: impl Fn(&ProxyPod) -> bool) -> usize {
    let count = |is_it: &dyn Fn(&&ProxyPod) -> bool| observed.proxies.iter().filter(is_it).count();
    let active = count(&|proxy| proxy.is_active());
    let out = count(&|proxy| proxy.loss.is_lost && !proxy.pod.is_deleting && has_served(proxy));
    let waiting = count(&|proxy| {
        proxy.is_warm() && proxy.pod.is_ready && !proxy.pod.is_deleting && !proxy.loss.is_lost && !is_accused(proxy)
    });
    let third = active / LOST_DIVISOR;
    let most = if third == 0 { waiting.min(1) } else { third };
    most.saturating_sub(out)
}

/// It was active before it was lost, or still is.
fn has_served(proxy: &ProxyPod) -> bool {
    proxy.is_active() || proxy.deletion_cost.is_some_and(|cost| cost > crate::plan::WARM_COST)
}

#[cfg(test)]
mod tests;
