//! One reconcile: dereference -> validate -> build -> apply -> plan -> act -> report.
//!
//! The controller runs at most one at a time for each cluster, which makes it the only writer of everything that belongs
//! to it. What it keeps from an earlier operator (`freshet_operator_core::keep`) is decided
//! around validate and build. A step that finds its view out of date ends the reconcile; the next one begins with a newer
//! view. What is remembered between reconciles only saves work and finds losses: a process that starts without it does the
//! same.

mod act;
mod apply;
mod limits;
mod memory;
mod refusals;
mod report;
mod resize;
mod rooms;
mod scale;
mod volume_origin;
mod volumes;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use freshet_operator_api::{MqttCluster, MqttClusterStatus, RevisionPhase};
use freshet_operator_core::build::{Children, build_children, keep_claim_size};
use freshet_operator_core::keep::{Keep, KeepInput, choose_defaults, decide_keep};
use freshet_operator_core::labels;
use freshet_operator_core::loss::{Fault, judge_losses};
use freshet_operator_core::observe::{Objects, Observed, observe};
use freshet_operator_core::plan::{ProxyPlan, ProxyTarget, StoragePlan, find_warm, plan_proxies, plan_storage};
use freshet_operator_core::requests::Requests;
use freshet_operator_core::rollout::{PaceInput, RolloutMemory, judge, next_pace, roll_back};
use freshet_operator_core::scaling::read_pool;
use freshet_operator_core::status::Blocked;
use freshet_operator_core::volume::plan_growth;
use freshet_operator_core::{DefaultImages, ValidatedCluster, names, validate};
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use crate::args::VERSION;
use crate::events::Recorder;
use crate::metrics::{Metrics, ReconcileResult};
use crate::moves::Moves;
use crate::scaling::Scalings;
use crate::watch::Stores;
use crate::write::{WriteError, Writer};
pub(crate) use apply::shorten_managed_fields;
use memory::{ClusterMemory, Memories};
use rooms::NodeRooms;

/// How soon a reconcile whose view was out of date is tried again; usually the watch is faster.
const STALE_RETRY: Duration = Duration::from_millis(250);

/// How soon something is tried again that the API server has refused: a quota may be raised, a name become free.
const BLOCKED_RETRY: Duration = Duration::from_secs(20);

/// How often everything is looked at though nothing has changed.
const RESYNC: Duration = Duration::from_secs(300);

/// How often a revision that takes over is looked at.
const CANARY_WATCHED_EVERY: Duration = Duration::from_secs(1);

/// First and longest pause after failures of the API server.
const FAILURE_PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// What a reconcile works with.
pub(crate) struct Reconciler {
    stores: Arc<Stores>,
    scalings: Scalings,
    moves: Moves,
    writer: Writer,
    recorder: Arc<Recorder>,
    images: DefaultImages,
    metrics: Metrics,
    memories: Memories,
    rooms: NodeRooms,
    clusters: AtomicUsize,
}

/// Why a reconcile ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    /// A write failed, or its object has changed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Something could not be read.
    #[error("reading {what}: {source}")]
    Read {
        /// What.
        what: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// Children of a deleted cluster of the same name are still there.
    #[error("{0} belongs to a deleted MqttCluster of the same name and is being removed")]
    FormerCluster(String),
    /// The watches have ended: the process stops.
    #[error("the watches have ended")]
    Stopping,
}

impl ReconcileError {
    /// A newer view is all that is needed.
    fn is_stale(&self) -> bool {
        matches!(
            self,
            Self::Write(WriteError::Stale(_) | WriteError::Gone(_)) | Self::FormerCluster(_)
        )
    }
}

/// Reconciles one cluster.
///
/// # Errors
/// [`ReconcileError`], for which [`on_error`] decides when to try again.
pub(crate) async fn reconcile(
    cluster: Arc<MqttCluster>,
    reconciler: Arc<Reconciler>,
) -> Result<Action, ReconcileError> {
    reconciler
        .stores
        .wait_until_ready()
        .await
        .map_err(|_| ReconcileError::Stopping)?;
    let began = Instant::now();
    reconciler.count_clusters();
    if cluster.metadata.deletion_timestamp.is_some() {
        // Owner references and the garbage collector do the rest.
        reconciler.memories.forget(&cluster);
        return Ok(Action::await_change());
    }
    let mut memory = reconciler.memories.take(&cluster);
    let outcome = reconciler.step(&cluster, &mut memory).await;
    let result = match &outcome {
        Ok((result, _)) => *result,
        Err(error) if error.is_stale() => ReconcileResult::Stale,
        Err(_) => ReconcileResult::Failed,
    };
    memory.failures = if result == ReconcileResult::Failed {
        memory.failures.saturating_add(1)
    } else {
        0
    };
    reconciler.memories.put(&cluster, memory, &reconciler.stores.clusters);
    reconciler.metrics.reconciled(result, began.elapsed());
    match &outcome {
        Err(error) if error.is_stale() => tracing::debug!(%error, "the view was out of date"),
        Err(error) => tracing::warn!(%error, "the reconcile failed"),
        Ok(_) => {}
    }
    outcome.map(|(_, action)| action)
}

/// When a reconcile that ended early is tried again.
// By value and reference as the controller gives them.
#[allow(clippy::needless_pass_by_value)]
pub(crate) fn on_error(cluster: Arc<MqttCluster>, error: &ReconcileError, reconciler: Arc<Reconciler>) -> Action {
    if error.is_stale() {
        return Action::requeue(STALE_RETRY);
    }
    let (first, longest) = FAILURE_PAUSES;
    let doublings = reconciler.memories.failures(&cluster).saturating_sub(1).min(10);
    Action::requeue(first.saturating_mul(1 << doublings).min(longest))
}

/// A cluster that can be built, and what is built and planned for it.
struct Work {
    cluster: ValidatedCluster,
    children: Children,
    keep: Keep,
    proxies: ProxyPlan,
    storage: StoragePlan,
}

impl Reconciler {
    /// What a reconcile works with.
    pub(crate) fn new(
        stores: Arc<Stores>,
        scalings: Scalings,
        moves: Moves,
        writer: Writer,
        recorder: Arc<Recorder>,
        images: DefaultImages,
        metrics: Metrics,
    ) -> Self {
        Self {
            stores,
            scalings,
            moves,
            writer,
            recorder,
            images,
            metrics,
            memories: Memories::default(),
            rooms: NodeRooms::default(),
            clusters: AtomicUsize::new(0),
        }
    }

    async fn step(
        &self,
        resource: &MqttCluster,
        memory: &mut ClusterMemory,
    ) -> Result<(ReconcileResult, Action), ReconcileError> {
        let scaled = self.scale(resource, memory).await?;
        let resource = scaled.resource.as_ref();
        let mut observed = self.dereference(resource);
        self.judge_losses(resource, &mut observed);
        memory.refusals.keep_only(&observed);
        let previous = memory.newest_status(resource);
        let served_last = previous.as_ref().map(|status| status.proxy.revision.current.as_str());
        let defaults = choose_defaults(resource, &observed, served_last, &self.images);
        let origin = self.volume_origin(resource, &observed).await?;
        let work = validate(resource, &defaults)
            .and_then(|cluster| cluster.on_volumes_of(origin.as_ref()))
            .map(|cluster| self.plan(resource, cluster, &observed, previous.as_ref(), &mut memory.rollout))
            .map_err(|invalid| Blocked {
                reason: "InvalidSpec".to_owned(),
                message: invalid.to_string(),
            });
        let (work, mut blocked) = match work {
            Ok(work) => (Some(work), None),
            Err(blocked) => (None, Some(blocked)),
        };
        blocked = blocked.or(scaled.blocked);
        let mut done = None;
        let mut has_changed = false;
        if let Some(work) = work.as_ref().filter(|work| !work.cluster.paused) {
            let applied = self.apply_children(work, &observed, memory).await?;
            has_changed = applied.has_changed;
            blocked = blocked.or(applied.blocked);
            // Nothing is begun under a name that is somebody else's; what runs already is looked after all the same.
            let is_begun = !observed.deployments.is_empty();
            let is_name_taken = blocked
                .as_ref()
                .is_some_and(|blocked| blocked.reason == apply::NAME_TAKEN);
            if is_begun || !is_name_taken {
                let acted = self.act(work, memory).await?;
                has_changed |= acted.has_changed;
                self.moves.note(resource, &acted.plan, &self.metrics);
                done = Some(acted.plan);
                blocked = blocked.or(acted.blocked);
            }
        }
        if work.is_none() {
            let acted = self.keep_serving(resource, &observed, previous.as_ref()).await?;
            done = Some(acted);
        }
        let is_blocked = blocked.is_some();
        let report = report::Report {
            resource,
            observed: &observed,
            previous,
            work: work.as_ref(),
            has_changed,
            done,
            blocked,
        };
        let pause = self.report(report, memory).await?;
        memory.observed = Some(observed);
        let is_watched = work
            .as_ref()
            .is_some_and(|work| work.proxies.phase == RevisionPhase::Canary);
        let (result, longest) = match (is_blocked, is_watched) {
            (true, _) => (ReconcileResult::Blocked, BLOCKED_RETRY),
            (false, true) => (ReconcileResult::Done, CANARY_WATCHED_EVERY),
            (false, false) => (ReconcileResult::Done, RESYNC),
        };
        Ok((
            result,
            Action::requeue(pause.map_or(longest, |pause| pause.min(longest))),
        ))
    }

    /// Finds proxies that are dead before Kubernetes does, and those that are cut off from storage.
    fn judge_losses(&self, resource: &MqttCluster, observed: &mut Observed) {
        let verdict = judge_losses(observed, &self.scalings.testimonies(resource));
        let (cluster, namespace) = (resource.name_any(), resource.namespace().unwrap_or_default());
        for pod in &verdict.dead {
            tracing::warn!(
                cluster,
                namespace,
                pod,
                "a proxy is silent and has lost its lease: it is taken to be dead"
            );
        }
        for pod in &verdict.cut_off {
            tracing::warn!(
                cluster,
                namespace,
                pod,
                "a proxy has lost storage, and others have not: it hands over its clients"
            );
        }
        if !verdict.cut_off_withheld.is_empty() {
            self.metrics.losses_withheld(Fault::CutOff);
            let pods = verdict.cut_off_withheld.join(" ");
            tracing::warn!(
                cluster,
                namespace,
                pods,
                "too many proxies have lost storage: their clients stay"
            );
        }
        if !verdict.withheld.is_empty() {
            self.metrics.losses_withheld(Fault::Dead);
            let pods = verdict.withheld.join(" ");
            tracing::warn!(
                cluster,
                namespace,
                pods,
                "too many proxies are silent and have lost their leases: they stay"
            );
        }
    }

    fn count_clusters(&self) {
        let now = self.stores.clusters.len();
        let before = self.clusters.swap(now, Ordering::Relaxed);
        self.metrics.clusters_changed(before, now);
    }

    /// Collects what belongs to the cluster.
    fn dereference(&self, resource: &MqttCluster) -> Observed {
        let namespace = resource.namespace().unwrap_or_default();
        let name = resource.name_any();
        let uid = resource.metadata.uid.as_deref().unwrap_or_default();
        let pods = self
            .stores
            .pods
            .list(&namespace, |pod| pod.labels().get(labels::CLUSTER) == Some(&name));
        let deployments = self
            .stores
            .deployments
            .list(&namespace, |deployment| apply::is_owned_by(deployment, uid));
        let stateful_set = self
            .stores
            .stateful_sets
            .get(&namespace, &names::storage_stateful_set(&name));
        let claims = self
            .stores
            .claims
            .list(&namespace, |claim| claim.labels().get(labels::CLUSTER) == Some(&name));
        let service = self.stores.services.get(&namespace, &names::client_service(&name));
        let budget = self
            .stores
            .budgets
            .get(&namespace, &names::proxy_disruption_budget(&name));
        observe(Objects {
            uid,
            pods: &pods,
            deployments: &deployments,
            stateful_set: stateful_set.as_deref().filter(|set| apply::is_owned_by(*set, uid)),
            claims: &claims,
            service: service.as_deref().filter(|service| apply::is_owned_by(*service, uid)),
            budget: budget.as_deref().filter(|budget| apply::is_owned_by(*budget, uid)),
        })
    }

    fn plan(
        &self,
        resource: &MqttCluster,
        cluster: ValidatedCluster,
        observed: &Observed,
        previous: Option<&MqttClusterStatus>,
        rollout: &mut RolloutMemory,
    ) -> Work {
        let served_last = previous.map(|status| status.proxy.revision.current.as_str());
        let mut children = build_children(&cluster);
        keep_claim_size(&mut children.storage, observed.storage_set.as_ref());
        let mut keep = decide_keep(&KeepInput {
            resource,
            cluster: &cluster,
            children: &children,
            observed,
            served_last,
            offered: &self.images,
            version: VERSION,
        });
        let mut nodes = self.rooms.known(observed, self.writer.client());
        let cordoned = self.stores.cordons.known().unwrap_or_default();
        nodes.closed.extend(cordoned.iter().cloned());
        let moves = self.moves.plan(resource, observed);
        let settings = &cluster.proxy.rollout;
        let is_rollback = roll_back(&mut keep, settings, observed, served_last);
        let target = keep.proxy_revision.as_str();
        let loads = self.scalings.loads(resource);
        rollout.begin(target, observed, &loads);
        let pace = next_pace(&PaceInput {
            settings,
            target,
            is_rollback,
            replicas: cluster.proxy.replicas,
            observed,
            previous: previous.map(|status| &status.proxy.revision),
            judgement: &judge(target, settings, observed, &loads, rollout),
            now_s: Timestamp::now().as_second(),
        });
        let target = ProxyTarget {
            revision: &keep.proxy_revision,
            replicas: cluster.proxy.replicas,
            warm: self.warm(resource, &cluster, observed, previous, &keep.proxy_revision),
            is_kept: keep.keeps_proxies,
            config_hash: &children.proxy_config_hash,
            active_requests: Requests::of(&ResourceRequirements {
                requests: Some(children.active_requests.clone()),
                ..ResourceRequirements::default()
            }),
            rooms: &nodes.rooms,
            closed_nodes: &nodes.closed,
            cordoned_nodes: &cordoned,
            moves: &moves,
            pace: &pace,
            served_last,
        };
        let proxies = plan_proxies(observed, target);
        let mut storage = plan_storage(observed, &children.storage_config_hash);
        storage.actions.extend(plan_growth(&cluster, observed));
        Work {
            cluster,
            children,
            keep,
            proxies,
            storage,
        }
    }

    /// How many proxies of the target are to wait.
    fn warm(
        &self,
        resource: &MqttCluster,
        cluster: &ValidatedCluster,
        observed: &Observed,
        previous: Option<&MqttClusterStatus>,
        target: &str,
    ) -> u32 {
        let shown = || previous?.scaling.as_ref()?.warm.as_ref().map(|warm| warm.desired);
        let decided = self.scalings.warm(resource).or_else(shown);
        let pool = read_pool(&cluster.proxy.warm);
        find_warm(pool, decided, observed, target, cluster.proxy.replicas)
    }
}
