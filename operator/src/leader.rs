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

/// A lease that this process may hold.
pub(crate) struct Leadership {
    api: Api<Lease>,
    name: String,
    namespace: String,
    identity: String,
    started: Instant,
    seen: Option<SeenLease>,
    /// The object as it was last read or written: what a write must still find.
    current: Option<Lease>,
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
            current: None,
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

    /// Gives the lease back, so that the next one leads at once.
    pub(crate) async fn release(&mut self) {
        let Some((current, spec)) = self
            .current
            .clone()
            .and_then(|lease| lease.spec.clone().map(|spec| (lease, spec)))
        else {
            return;
        };
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return;
        }
        match self.write(Some(current), released(&spec, Timestamp::now())).await {
            Ok(_) => tracing::info!(lease = %self.name, "gave the lease back"),
            Err(error) => tracing::warn!(error = %format!("{error:#}"), "the lease could not be given back"),
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
                    self.seen = written.spec.clone().map(|spec| SeenLease { spec, at: now });
                    self.current = Some(written);
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
