//! Leading, by a Lease: waits for it, keeps it, gives it back.
//!
//! What to do is decided by `freshet_operator_core::lease`; here are the clock, the API server, and a watch that wakes a
//! waiting replica the moment the leader lets go.

use std::time::{Duration, Instant};

use anyhow::Context;
use freshet_operator_core::lease::{LeaseDecision, RENEW_DEADLINE, RETRY_PERIOD, SeenLease, evaluate_lease, released};
use futures::{Stream, StreamExt};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Client, ResourceExt};

/// One request takes no longer than this: a leader must have room for several before its lease runs out.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// Giving the lease back takes no longer than this, of the 30 s that a pod has to end.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// A lease that this process may hold.
pub(crate) struct Leadership {
    api: Api<Lease>,
    name: String,
    namespace: String,
    identity: String,
    started: Instant,
    seen: Option<SeenLease>,
}

impl Leadership {
    /// A candidate for the lease.
    pub(crate) fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            identity: identity.to_owned(),
            started: Instant::now(),
            seen: None,
        }
    }

    /// Waits until this process leads.
    pub(crate) async fn acquire(&mut self) {
        let selected = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let mut changes = watcher(self.api.clone(), selected).default_backoff().boxed();
        loop {
            match self.try_once().await {
                Ok(Step::Leads) => {
                    tracing::info!(lease = %self.name, namespace = %self.namespace, identity = %self.identity, "leading");
                    return;
                }
                Ok(Step::WaitUntil(until)) => {
                    let wait = until.saturating_sub(self.started.elapsed()).min(RETRY_PERIOD);
                    wait_for_change(&mut changes, wait).await;
                }
                // A little pause keeps two candidates from racing each other without end.
                Ok(Step::Raced) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => {
                    tracing::warn!(lease = %self.name, error = %format!("{error:#}"), "cannot read or write the lease");
                    tokio::time::sleep(RETRY_PERIOD).await;
                }
            }
        }
    }

    /// Renews until that is no longer possible, and returns why. The process must stop then: another one may lead.
    pub(crate) async fn keep(&mut self) -> anyhow::Error {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RETRY_PERIOD).await;
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            let began = Instant::now();
            // A request that hangs must not keep a leader going that is none any more.
            match tokio::time::timeout(left, self.try_once()).await {
                Ok(Ok(Step::Leads)) => renewed = began,
                Ok(Ok(Step::Raced)) => {}
                Ok(Ok(Step::WaitUntil(_))) => {
                    let holder = self.seen.as_ref().and_then(|seen| seen.spec.holder_identity.clone());
                    return anyhow::anyhow!("`{}` holds the lease", holder.unwrap_or_default());
                }
                Ok(Err(error)) => {
                    tracing::warn!(error = %format!("{error:#}"), "the lease could not be renewed, trying again");
                }
                Err(_) => return anyhow::anyhow!("the lease could not be renewed in time"),
            }
        }
    }

    /// Gives the lease back if this process has it, so that the next one leads at once.
    ///
    /// What the lease says is read anew: a request of [`acquire`](Self::acquire) or [`keep`](Self::keep) that was dropped
    /// may have been served all the same.
    pub(crate) async fn release(&mut self) {
        match tokio::time::timeout(RELEASE_TIMEOUT, self.try_release()).await {
            Ok(Ok(true)) => tracing::info!(lease = %self.name, "gave the lease back"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::warn!(error = %format!("{error:#}"), "the lease could not be given back"),
            Err(_) => tracing::warn!("the lease could not be given back in time"),
        }
    }

    /// Whether this process had the lease, which it has no more.
    async fn try_release(&self) -> anyhow::Result<bool> {
        loop {
            let lease = self.api.get_opt(&self.name).await.context("reading the lease")?;
            let held = lease.and_then(|lease| lease.spec.clone().map(|spec| (lease, spec)));
            let Some((lease, spec)) =
                held.filter(|(_, spec)| spec.holder_identity.as_deref() == Some(self.identity.as_str()))
            else {
                return Ok(false);
            };
            let released = released(&spec, Timestamp::now());
            if self.write(Some(lease), released).await?.is_some() {
                return Ok(true);
            }
        }
    }

    /// Reads, decides, and writes if that is decided.
    async fn try_once(&mut self) -> anyhow::Result<Step> {
        let lease = tokio::time::timeout(REQUEST_TIMEOUT, self.api.get_opt(&self.name)).await??;
        let now = self.started.elapsed();
        self.seen = lease
            .as_ref()
            .map(|lease| SeenLease::read(lease.spec.clone().unwrap_or_default(), self.seen.as_ref(), now));
        match evaluate_lease(self.seen.as_ref(), &self.identity, now, Timestamp::now()) {
            LeaseDecision::Follow(until) => Ok(Step::WaitUntil(until)),
            LeaseDecision::Take(spec) | LeaseDecision::Renew(spec) => match self.write(lease, spec).await? {
                Some(written) => {
                    self.seen = written.spec.map(|spec| SeenLease { spec, at: now });
                    Ok(Step::Leads)
                }
                None => Ok(Step::Raced),
            },
        }
    }

    /// Creates the lease or replaces what was read. Nothing when somebody was faster.
    async fn write(&self, was: Option<Lease>, spec: LeaseSpec) -> anyhow::Result<Option<Lease>> {
        let params = PostParams::default();
        let answer = match was {
            Some(was) => {
                let lease = Lease {
                    spec: Some(spec),
                    ..was
                };
                let name = lease.name_any();
                tokio::time::timeout(REQUEST_TIMEOUT, self.api.replace(&name, &params, &lease)).await?
            }
            None => {
                let metadata = ObjectMeta {
                    name: Some(self.name.clone()),
                    namespace: Some(self.namespace.clone()),
                    ..ObjectMeta::default()
                };
                let lease = Lease {
                    metadata,
                    spec: Some(spec),
                };
                tokio::time::timeout(REQUEST_TIMEOUT, self.api.create(&params, &lease)).await?
            }
        };
        match answer {
            Ok(lease) => Ok(Some(lease)),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(error).context("writing the lease"),
        }
    }
}

enum Step {
    /// The lease was written.
    Leads,
    /// Somebody else leads, at least until then.
    WaitUntil(Duration),
    /// The lease has changed between reading and writing.
    Raced,
}

/// Waits for a change of the lease, at most for `wait`.
async fn wait_for_change(
    changes: &mut (impl Stream<Item = Result<watcher::Event<Lease>, watcher::Error>> + Unpin),
    wait: Duration,
) {
    let changed = async {
        while let Some(event) = changes.next().await {
            // The list at the beginning of a watch is no change.
            if matches!(event, Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_))) {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    // Nothing depends on which of the two it was.
    let _ = tokio::time::timeout(wait, changed).await;
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::{Arc, Mutex, PoisonError};

    use axum::Router;
    use axum::body::Bytes;
    use axum::extract::State;
    use axum::http::StatusCode;
    use axum::routing::get;
    use serde_json::{Value, json};
    use tokio::sync::Notify;

    use super::*;

    /// One lease, as an API server has it: a write must name the version that it replaces.
    #[derive(Clone, Default)]
    struct Server {
        lease: Arc<Mutex<Value>>,
        /// Told of every write, which is not answered while `mute` is on.
        written: Arc<Notify>,
        mute: Arc<Mutex<bool>>,
    }

    impl Server {
        fn holding(holder: &str) -> Self {
            let server = Self::default();
            let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 1});
            *lock(&server.lease) = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec,
                "metadata": {"name": "freshet-operator", "namespace": "system", "resourceVersion": "1"},
            });
            server
        }

        fn holder(&self) -> String {
            let holder = &lock(&self.lease)["spec"]["holderIdentity"];
            holder.as_str().unwrap_or_default().to_owned()
        }

        fn mute(&self, mute: bool) {
            *lock(&self.mute) = mute;
        }

        fn candidate(&self, identity: &str) -> Leadership {
            let path = "/apis/coordination.k8s.io/v1/namespaces/system/leases/freshet-operator";
            let routes = Router::new()
                .route(path, get(read).put(replace))
                .with_state(self.clone());
            Leadership::new(Client::new(routes, "system"), "system", "freshet-operator", identity)
        }
    }

    fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
        shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(State(server): State<Server>) -> String {
        lock(&server.lease).to_string()
    }

    async fn replace(State(server): State<Server>, body: Bytes) -> (StatusCode, String) {
        let mut new: Value = serde_json::from_slice(&body).expect("a lease");
        {
            let mut lease = lock(&server.lease);
            let version = &lease["metadata"]["resourceVersion"];
            if new["metadata"]["resourceVersion"] != *version {
                let refusal = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "modified", "reason": "Conflict", "code": 409,
                });
                return (StatusCode::CONFLICT, refusal.to_string());
            }
            let next = version
                .as_str()
                .and_then(|version| version.parse::<u64>().ok())
                .unwrap_or(0)
                + 1;
            new["metadata"]["resourceVersion"] = json!(next.to_string());
            *lease = new.clone();
        }
        server.written.notify_one();
        if *lock(&server.mute) {
            pending::<()>().await;
        }
        (StatusCode::OK, new.to_string())
    }

    #[tokio::test]
    async fn a_lease_is_given_back_whose_renewal_was_dropped_on_its_way() {
        let server = Server::holding("first");
        let mut first = server.candidate("first");
        server.mute(true);
        tokio::select! {
            lost = first.keep() => panic!("{lost}"),
            () = server.written.notified() => {}
        }
        server.mute(false);
        first.release().await;
        assert_eq!(server.holder(), "");
    }

    #[tokio::test]
    async fn a_lease_is_given_back_that_was_taken_by_a_request_that_was_dropped() {
        let server = Server::holding("");
        let mut first = server.candidate("first");
        server.mute(true);
        tokio::select! {
            () = first.acquire() => panic!("nothing was answered"),
            () = server.written.notified() => {}
        }
        server.mute(false);
        assert_eq!(server.holder(), "first");
        first.release().await;
        assert_eq!(server.holder(), "");
    }

    #[tokio::test]
    async fn a_lease_that_somebody_else_has_is_left_alone() {
        let server = Server::holding("second");
        server.candidate("first").release().await;
        assert_eq!(server.holder(), "second");
    }
}
