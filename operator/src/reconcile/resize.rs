//! Raises what active proxies reserve on their nodes, in place, through the subresource `resize` of their pods, and lowers it
//! of those that wait again.
//!
//! Nothing waits for it: a proxy serves from the moment it has its label, with the limits it was born with. What the API
//! server refuses (a quota, a Kubernetes without the subresource) is remembered for the condition `ResizeDeferred` and asked
//! again after a while; what the node has no room for, the kubelet tries again by itself.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use freshet_operator_core::names;
use freshet_operator_core::observe::Observed;
use freshet_operator_core::plan::{ProxyAction, Reservation};
use freshet_operator_core::status::RefusedResizes;
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::{BLOCKED_RETRY, ReconcileError, Reconciler, Work};
use crate::fault::FaultPoint;
use crate::write::WriteError;

/// Resizes that are under way at once.
const RESIZES_AT_ONCE: usize = 16;

/// What the API server said where it has no subresource.
const NOT_IN_PLACE: &str = "the API server does not resize pods in place, which needs Kubernetes 1.33: \
                            set spec.proxy.warm.reserve to true";

/// Resizes of one cluster's proxies that were refused, by the UID of the pod.
#[derive(Debug, Default)]
pub(super) struct Refusals(HashMap<String, Refusal>);

#[derive(Debug)]
struct Refusal {
    at: Instant,
    message: String,
}

impl Refusals {
    /// Forgets pods that are gone.
    pub(super) fn keep_only(&mut self, observed: &Observed) {
        let is_there = |uid: &String| observed.proxies.iter().any(|proxy| proxy.pod.uid == *uid);
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

    fn is_due(&self, uid: &str) -> bool {
        self.0
            .get(uid)
            .is_none_or(|refusal| refusal.at.elapsed() >= BLOCKED_RETRY)
    }
}

impl Reconciler {
    /// Carries out the resizes among `actions` that were not refused just now. Returns whether something has changed.
    pub(super) async fn resize(
        &self,
        work: &Work,
        actions: &[&ProxyAction],
        refusals: &mut Refusals,
    ) -> Result<bool, ReconcileError> {
        let due = actions.iter().filter_map(|action| match action {
            ProxyAction::Resize { pod, uid, to } if refusals.is_due(uid) => {
                Some((pod.as_str(), uid.clone(), resize_patch(work, *to)))
            }
            _ => None,
        });
        let namespace = work.cluster.namespace.as_str();
        let resizes: Vec<_> = due
            .map(|(pod, uid, patch)| {
                let point = FaultPoint::ResizeProxyPod;
                async move { (pod, uid, self.writer.resize(point, namespace, pod, &patch).await) }
            })
            .collect();
        let outcomes: Vec<_> = stream::iter(resizes).buffered(RESIZES_AT_ONCE).collect().await;
        let mut has_changed = false;
        for (pod, uid, outcome) in outcomes {
            let message = match outcome {
                Ok(written) => {
                    tracing::info!(pod, namespace, "resized");
                    self.stores.pods.wrote(written);
                    refusals.0.remove(&uid);
                    has_changed = true;
                    continue;
                }
                // The watch brings what it is now, and with it the next reconcile.
                Err(WriteError::Stale(_)) => continue,
                // Or the pod is gone: then nothing speaks of it any more.
                Err(WriteError::Gone(_)) => NOT_IN_PLACE.to_owned(),
                Err(WriteError::Refused { message, .. }) => message,
                Err(error) => return Err(error.into()),
            };
            tracing::warn!(pod, namespace, said = message, "the resize was refused");
            let at = Instant::now();
            refusals.0.insert(uid, Refusal { at, message });
        }
        Ok(has_changed)
    }
}

fn resize_patch(work: &Work, to: Reservation) -> Value {
    let requests = match to {
        Reservation::OfActive => work.children.active_requests.clone(),
        Reservation::OfBirth(requests) => requests.to_quantities(),
    };
    json!({"spec": {"containers": [{
        "name": names::PROXY_CONTAINER,
        "resources": {"requests": requests},
    }]}})
}
