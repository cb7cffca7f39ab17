//! Which proxies are of no use though Kubernetes takes them to be ready, by two witnesses: the proxy itself, and storage,
//! where its lease has run out.
//!
//! Called by the reconcile with what was heard of the proxies that are doubted.
//!
//! - One that does not answer is *dead*. A dead node keeps its pods `Ready` for most of a minute; what is found here leaves
//!   the Service within seconds, and a warm proxy takes its place.
//! - One that answers, and says itself that it has lost storage, is *cut off*. It holds what its clients publish until they
//!   are sent away, and they may come back to it. So it leaves the Service and hands its clients over like any other, and a
//!   warm proxy takes its place.
//!
//! Neither witness alone is believed: scrapes fail where the operator's own network does, and a lease runs out where
//! storage's does. Nor are both, for more than a third of those that serve: then it is more likely that the witnesses are
//! cut off than that the proxies are dead, or it is storage that is at fault, and its clients find it nowhere else. Of the
//! dead a third goes then, of those that are cut off nobody. A proxy that answers, has storage and a lease again is an
//! ordinary one.
//!
//! Leaves out who is asked and when (the operator's binary), and what becomes of such a proxy ([`crate::plan`]): it counts
//! as one that is not ready, is not made active, and is marked in the same write that takes it out, so that another
//! operator knows.

use std::collections::BTreeMap;

use freshet_load::Leases;
use k8s_openapi::api::core::v1::Pod;

use crate::labels;
use crate::observe::{Observed, ProxyPod, Role};
use crate::trouble::Trouble;

/// Rounds in a row that a proxy must have left unanswered.
pub const MISSED_ROUNDS: u32 = 3;
/// Rounds in a row in which a proxy must have answered that it has no storage. They take longer than a lease lasts: where it
/// is storage that cannot be reached, the others say so by then as well.
pub const DETACHED_ROUNDS: u32 = 8;
/// Of the active proxies, at most this part is out for being lost at any time.
const LOST_DIVISOR: usize = 3;
/// Reason of a proxy that is cut off.
const CUT_OFF: &str = "CutOffFromStorage";

/// Why a proxy is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is taken to be dead.
    Dead,
    /// It lives, and storage cannot be reached from it.
    CutOff,
}

impl Fault {
    /// The value of [`labels::LOST`].
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Dead => labels::TRUE,
            Self::CutOff => labels::CUT_OFF,
        }
    }

    fn of_mark(mark: &str) -> Option<Self> {
        [Self::Dead, Self::CutOff]
            .into_iter()
            .find(|fault| fault.mark() == mark)
    }
}

/// Whether a proxy is of no use, and is marked as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loss {
    /// What it is found to be.
    pub fault: Option<Fault>,
    /// What its pod is marked as ([`labels::LOST`]).
    pub mark: Option<Fault>,
}

impl Loss {
    /// What a pod with these annotations is marked as; what holds now is still to be judged.
    pub fn marked(annotations: Option<&BTreeMap<String, String>>) -> Self {
        let mark = annotations.and_then(|all| all.get(labels::LOST));
        Self {
            fault: None,
            mark: mark.and_then(|mark| Fault::of_mark(mark)),
        }
    }

    /// It is taken to be dead.
    pub fn is_dead(self) -> bool {
        self.fault == Some(Fault::Dead)
    }

    /// It lives, and storage cannot be reached from it.
    pub fn is_cut_off(self) -> bool {
        self.fault == Some(Fault::CutOff)
    }
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
    /// Answers in which it had no storage, since it last had.
    pub detached_rounds: u32,
    /// What storage knows of it.
    pub lease: Lease,
}

/// Testimonies by the UID of the pod.
pub type Testimonies = BTreeMap<String, Testimony>;

/// Who was found to be of no use, by the names of the pods.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Those that are taken to be dead from now on.
    pub dead: Vec<String>,
    /// Active ones that both witnesses say are dead, and that would be too many.
    pub withheld: Vec<String>,
    /// Those that are cut off from storage from now on.
    pub cut_off: Vec<String>,
    /// Active ones that both witnesses say are cut off, and that would be too many.
    pub cut_off_withheld: Vec<String>,
}

impl Testimony {
    /// Both witnesses say that it is dead.
    pub fn is_dead(self) -> bool {
        self.missed_rounds >= MISSED_ROUNDS && self.lease == Lease::Lost
    }

    /// Both witnesses say that storage cannot be reached from it.
    pub fn is_cut_off(self) -> bool {
        self.missed_rounds == 0 && self.detached_rounds >= DETACHED_ROUNDS && self.lease == Lease::Lost
    }

    /// Both witnesses say that it is alive and has storage.
    pub fn is_well(self) -> bool {
        self.missed_rounds == 0 && self.detached_rounds == 0 && self.lease == Lease::Held
    }

    /// Whether it says something else of a proxy than its mark does.
    pub fn is_news(self, mark: Option<Fault>) -> bool {
        match mark {
            Some(_) => self.is_well(),
            None => self.is_dead() || self.is_cut_off(),
        }
    }
}

/// Whether a proxy's pod is one that can be found to be of no use: Kubernetes takes it to be ready, and it is not on its way
/// out, unless it is so for being cut off. If so, says what it is marked as.
pub fn can_be_lost(pod: &Pod) -> Option<Option<Fault>> {
    let metadata = &pod.metadata;
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_ready = conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let role = metadata.labels.as_ref().and_then(|labels| labels.get(labels::ROLE));
    let mark = Loss::marked(metadata.annotations.as_ref()).mark;
    let is_leaving = role.is_some_and(|role| role == labels::DRAINING) && mark != Some(Fault::CutOff);
    (is_ready && !is_leaving && metadata.deletion_timestamp.is_none()).then_some(mark)
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

/// Decides which proxies are of no use, and lets them count as not ready. Without a testimony, what a pod is marked as
/// holds.
pub fn judge_losses(observed: &mut Observed, testimonies: &Testimonies) -> Verdict {
    for proxy in &mut observed.proxies {
        let testimony = testimonies.get(&proxy.pod.uid);
        proxy.loss.fault = proxy.loss.mark.filter(|_| !testimony.is_some_and(|of| of.is_well()));
    }
    let says = |proxy: &ProxyPod, what: fn(Testimony) -> bool| {
        let testimony = testimonies.get(&proxy.pod.uid);
        proxy.loss.fault.is_none()
            && proxy.pod.is_ready
            && !proxy.pod.is_deleting
            && testimony.is_some_and(|testimony| what(*testimony))
    };
    let is_accused = |proxy: &ProxyPod| says(proxy, Testimony::is_dead) || says(proxy, Testimony::is_cut_off);
    // Of those that wait, all: it only keeps them from being promoted.
    let (dead, dead_waiting) = accused(observed, |proxy| says(proxy, Testimony::is_dead));
    let (cut_off, cut_off_waiting) = accused(observed, |proxy| says(proxy, Testimony::is_cut_off));
    let allowed = allowed(observed, is_accused);
    let (dead, withheld) = split(dead, allowed);
    let left = allowed.saturating_sub(dead.len());
    let is_without = |proxy: &&ProxyPod| proxy.is_active() && says(proxy, |testimony| testimony.detached_rounds > 0);
    let without = observed.proxies.iter().filter(is_without).count();
    let (cut_off, cut_off_withheld) = if without > left {
        (Vec::new(), cut_off)
    } else {
        (cut_off, Vec::new())
    };
    let verdict = Verdict {
        dead: [dead_waiting, dead].concat(),
        withheld,
        cut_off: [cut_off_waiting, cut_off].concat(),
        cut_off_withheld,
    };
    for proxy in &mut observed.proxies {
        let name = &proxy.pod.name;
        if verdict.dead.contains(name) {
            proxy.loss.fault = Some(Fault::Dead);
        } else if verdict.cut_off.contains(name) {
            proxy.loss.fault = Some(Fault::CutOff);
        }
        proxy.pod.is_ready &= proxy.loss.fault.is_none();
        let message = match proxy.loss.fault {
            Some(Fault::CutOff) => "it has lost storage, and others have not: look at the network between the two",
            _ if verdict.cut_off_withheld.contains(name) => {
                "it has lost storage, and too many others have: nobody is moved; look at storage, and at the network to it"
            }
            _ => continue,
        };
        proxy.pod.trouble.get_or_insert(Trouble {
            reason: CUT_OFF.to_owned(),
            message: message.to_owned(),
        });
    }
    verdict
}

/// Names of proxies that something is said of: active ones, and those that wait.
fn accused(observed: &Observed, is_it: impl Fn(&ProxyPod) -> bool) -> (Vec<String>, Vec<String>) {
    let is_either = |proxy: &&ProxyPod| is_it(proxy) && (proxy.is_active() || proxy.is_warm());
    let all = observed.proxies.iter().filter(is_either);
    let (active, waiting): (Vec<&ProxyPod>, Vec<&ProxyPod>) = all.partition(|proxy| proxy.is_active());
    let names = |of: Vec<&ProxyPod>| of.into_iter().map(|proxy| proxy.pod.name.clone()).collect();
    (names(active), names(waiting))
}

fn split(mut names: Vec<String>, at: usize) -> (Vec<String>, Vec<String>) {
    let rest = names.split_off(at.min(names.len()));
    (names, rest)
}

/// How many active proxies more may be out. Of one or two, a third is none: there, one may be whose place another takes.
fn allowed(observed: &Observed, is_accused: impl Fn(&ProxyPod) -> bool) -> usize {
    let count = |is_it: &dyn Fn(&&ProxyPod) -> bool| observed.proxies.iter().filter(is_it).count();
    let active = count(&|proxy| proxy.is_active());
    let out = count(&|proxy| proxy.loss.fault.is_some() && !proxy.pod.is_deleting && has_served(proxy));
    let waiting = count(&|proxy| {
        let is_well = proxy.loss.fault.is_none() && !is_accused(proxy);
        proxy.is_warm() && proxy.pod.is_ready && !proxy.pod.is_deleting && is_well
    });
    let third = active / LOST_DIVISOR;
    let most = if third == 0 { waiting.min(1) } else { third };
    most.saturating_sub(out)
}

/// It was active before it was lost, or still is.
fn has_served(proxy: &ProxyPod) -> bool {
    let has_cost = proxy.deletion_cost.is_some_and(|cost| cost > crate::plan::WARM_COST);
    proxy.is_active() || proxy.role == Some(Role::Draining) || has_cost
}

#[cfg(test)]
mod tests;
