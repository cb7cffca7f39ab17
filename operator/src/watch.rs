//! What the operator sees: watches of `MqttCluster`s and of everything it makes from them, in one namespace or in all.
//!
//! Children and pods are found by label, so that the operator reads nothing that is not its own. Whatever changes leads to
//! a reconcile of the cluster it belongs to; [`Stores`] has the newest of what was watched and of what this process wrote.

mod cordons;
mod newest;

use std::collections::BTreeSet;
use std::sync::Arc;

use freshet_operator_api::MqttCluster;
use freshet_operator_core::labels;
use freshet_operator_core::observe::drop_unread;
use futures::stream::{self, BoxStream, SelectAll, select_all};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::controller::{ReconcileReason, ReconcileRequest};
use kube::runtime::predicates;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{Predicate, WatchStreamExt};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

pub(crate) use cordons::Cordons;
pub(crate) use newest::Newest;

use crate::reconcile::shorten_managed_fields;
use crate::scaling::Nudges;

/// Requests for reconciles, as the watches lead to them.
pub(crate) type Requests = SelectAll<BoxStream<'static, Result<ReconcileRequest<MqttCluster>, watcher::Error>>>;

/// The newest of everything that is watched.
pub(crate) struct Stores {
    /// The resources themselves.
    pub(crate) clusters: Store<MqttCluster>,
    /// Pods of proxies and storage.
    pub(crate) pods: Newest<Pod>,
    /// Deployments of proxies.
    pub(crate) deployments: Newest<Deployment>,
    /// StatefulSets of storage.
    pub(crate) stateful_sets: Newest<StatefulSet>,
    /// Claims of storage nodes' volumes.
    pub(crate) claims: Newest<PersistentVolumeClaim>,
    /// Services.
    pub(crate) services: Newest<Service>,
    /// ConfigMaps.
    pub(crate) config_maps: Newest<ConfigMap>,
    /// ServiceAccounts.
    pub(crate) service_accounts: Newest<ServiceAccount>,
    /// Disruption budgets.
    pub(crate) budgets: Newest<PodDisruptionBudget>,
    /// Nodes that are cordoned. Nobody waits for them: they may not be known.
    pub(crate) cordons: Cordons,
    /// Set once every watch has delivered what there was.
    ready: OnceCell<()>,
}

/// Begins all watches of one namespace, or of all; `cordons` is of all. The stores fill as the requests are polled.
pub(crate) fn watch(client: &Client, namespace: Option<&str>, cordons: Cordons) -> (Stores, Requests) {
    let (clusters, cluster_requests) = watch_clusters(client, namespace);
    let (pods, pod_requests) = watch_labelled(client, namespace, drop_unread);
    let (deployments, deployment_requests) = watch_children(client, namespace);
    let (stateful_sets, stateful_set_requests) = watch_children(client, namespace);
    let (claims, claim_requests) = watch_labelled(client, namespace, |_| {});
    let (services, service_requests) = watch_children(client, namespace);
    let (config_maps, config_map_requests) = watch_children(client, namespace);
    let (service_accounts, service_account_requests) = watch_children(client, namespace);
    let (budgets, budget_requests) = watch_children(client, namespace);
    let stores = Stores {
        clusters,
        pods,
        deployments,
        stateful_sets,
        claims,
        services,
        config_maps,
        service_accounts,
        budgets,
        cordons,
        ready: OnceCell::new(),
    };
    let requests = select_all([
        cluster_requests,
        pod_requests,
        deployment_requests,
        stateful_set_requests,
        claim_requests,
        service_requests,
        config_map_requests,
        service_account_requests,
        budget_requests,
    ]);
    (stores, requests)
}

impl Stores {
    /// Whether every watch has delivered what there was, as the first reconcile found.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.initialized()
    }

    /// Clusters with proxies on one of these nodes.
    fn clusters_on(&self, nodes: &BTreeSet<String>) -> BTreeSet<(String, String)> {
        let pods = self.pods.watched();
        let is_there = |pod: &&Arc<Pod>| {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
            node.is_some_and(|node| nodes.contains(node))
        };
        let cluster = |pod: &Arc<Pod>| Some((pod.namespace()?, pod.labels().get(labels::CLUSTER)?.clone()));
        pods.iter().filter(is_there).filter_map(cluster).collect()
    }

    /// Waits until every watch has delivered what there was: before that, what is missing may only not have been seen. For
    /// reconciles alone.
    ///
    /// # Errors
    /// When a watch has ended for good, which they do when the process stops.
    pub(crate) async fn wait_until_ready(&self) -> Result<(), reflector::store::WriterDropped> {
        // A store that becomes ready wakes the last task that has asked, and no other: one asks, the others wait for that.
        // The controller asks for the clusters itself and begins no reconcile before, so that nobody but reconciles may
        // ask here: it would be in the controller's way.
        let ask = || async {
            self.clusters.wait_until_ready().await?;
            self.pods.wait_until_ready().await?;
            self.deployments.wait_until_ready().await?;
            self.stateful_sets.wait_until_ready().await?;
            self.claims.wait_until_ready().await?;
            self.services.wait_until_ready().await?;
            self.config_maps.wait_until_ready().await?;
            self.service_accounts.wait_until_ready().await?;
            self.budgets.wait_until_ready().await
        };
        self.ready.get_or_try_init(ask).await.copied()
    }
}

type RequestStream = BoxStream<'static, Result<ReconcileRequest<MqttCluster>, watcher::Error>>;

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Requests for what a user changed: the spec, or an annotation. The operator's own writes of status lead to none.
fn watch_clusters(client: &Client, namespace: Option<&str>) -> (Store<MqttCluster>, RequestStream) {
    let (store, writer) = reflector::store();
    let changed = predicates::generation.combine(predicates::annotations);
    let requests = watcher(api::<MqttCluster>(client, namespace), watcher::Config::default())
        .default_backoff()
        .modify(|cluster| cluster.metadata.managed_fields = None)
        .reflect(writer)
        .applied_objects()
        .predicate_filter(changed, Default::default())
        .map_ok(|cluster| request(ObjectRef::from_obj(&cluster), ReconcileReason::ObjectUpdated));
    (store, requests.boxed())
}

/// Pods and claims belong to a ReplicaSet or a StatefulSet, or to nobody; the cluster is named by a label. `drop_unread` takes
/// away what nobody reads, beside the managed fields.
fn watch_labelled<K>(client: &Client, namespace: Option<&str>, drop_unread: fn(&mut K)) -> (Newest<K>, RequestStream)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let requests = watcher(api::<K>(client, namespace), of_the_operator())
        .default_backoff()
        .modify(move |object| {
            object.meta_mut().managed_fields = None;
            drop_unread(object);
        })
        .reflect(writer)
        .touched_objects()
        .try_filter_map(|object| async move {
            let cluster = object.labels().get(labels::CLUSTER);
            Ok(cluster.map(|cluster| {
                let of = ObjectRef::<MqttCluster>::new(cluster).within(&object.namespace().unwrap_or_default());
                request(of, about(&object))
            }))
        });
    (Newest::new(store), requests.boxed())
}

/// Children are owned by the cluster.
fn watch_children<K>(client: &Client, namespace: Option<&str>) -> (Newest<K>, RequestStream)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let requests = watcher(api::<K>(client, namespace), of_the_operator())
        .default_backoff()
        .modify(shorten_managed_fields)
        .reflect(writer)
        .touched_objects()
        .try_filter_map(|child| async move {
            let namespace = child.namespace();
            let mut owners = child.owner_references().iter();
            let owner = owners.find_map(|owner| ObjectRef::from_owner_ref(namespace.as_deref(), owner, ()));
            Ok(owner.map(|owner| request(owner, about(&child))))
        });
    (Newest::new(store), requests.boxed())
}

fn of_the_operator() -> watcher::Config {
    watcher::Config::default().labels(&labels::managed_selector())
}

fn request(of: ObjectRef<MqttCluster>, reason: ReconcileReason) -> ReconcileRequest<MqttCluster> {
    ReconcileRequest { obj_ref: of, reason }
}

/// Requests for clusters that are named.
pub(crate) fn nudged(mut nudges: Nudges) -> RequestStream {
    let named = stream::poll_fn(move |cx| nudges.poll_recv(cx));
    let reason = || ReconcileReason::Custom {
        reason: "a decision of the scaler".into(),
    };
    named.map(move |of| Ok(request(of, reason()))).boxed()
}

/// Requests for clusters with pods on a node that is cordoned, or is not any more.
pub(crate) fn cordoned(stores: Arc<Stores>) -> RequestStream {
    let changes = stores.cordons.changes();
    let requests = changes.flat_map(move |nodes| {
        let clusters = stores.clusters_on(&nodes).into_iter();
        stream::iter(clusters.map(|(namespace, name)| {
            let reason = ReconcileReason::Custom {
                reason: "a node is cordoned, or is not any more".into(),
            };
            Ok(request(ObjectRef::new(&name).within(&namespace), reason))
        }))
    });
    requests.boxed()
}

fn about<K: Resource<DynamicType = ()>>(object: &K) -> ReconcileReason {
    ReconcileReason::RelatedObjectUpdated {
        obj_ref: Box::new(ObjectRef::from_obj(object).erase()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kube::runtime::reflector::store::Writer;
    use kube::runtime::watcher::Event;

    use super::*;

    fn store<K>() -> (Newest<K>, Writer<K>)
    where
        K: Resource<DynamicType = ()> + Clone + 'static,
    {
        let (store, writer) = reflector::store();
        (Newest::new(store), writer)
    }

    fn deliver<K>(writer: &mut Writer<K>)
    where
        K: Resource<DynamicType = ()> + Clone + 'static,
    {
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
    }

    #[tokio::test]
    async fn everybody_who_waits_is_woken_when_the_last_watch_has_delivered() {
        let (clusters, mut of_clusters) = reflector::store();
        let (pods, mut of_pods) = store();
        let (deployments, mut of_deployments) = store();
        let (stateful_sets, mut of_stateful_sets) = store();
        let (claims, mut of_claims) = store();
        let (services, mut of_services) = store();
        let (config_maps, mut of_config_maps) = store();
        let (service_accounts, mut of_service_accounts) = store();
        let (budgets, mut of_budgets) = store();
        let stores = Arc::new(Stores {
            clusters,
            pods,
            deployments,
            stateful_sets,
            claims,
            services,
            config_maps,
            service_accounts,
            budgets,
            cordons: Cordons::default(),
            ready: OnceCell::new(),
        });
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let stores = Arc::clone(&stores);
                tokio::spawn(async move { stores.wait_until_ready().await.is_ok() })
            })
            .collect();
        // Each has begun to wait.
        tokio::task::yield_now().await;
        deliver(&mut of_clusters);
        deliver(&mut of_pods);
        deliver(&mut of_deployments);
        deliver(&mut of_stateful_sets);
        deliver(&mut of_claims);
        deliver(&mut of_services);
        deliver(&mut of_config_maps);
        deliver(&mut of_service_accounts);
        tokio::task::yield_now().await;
        deliver(&mut of_budgets);
        for task in waiting {
            let woken = tokio::time::timeout(Duration::from_secs(20), task).await;
            assert!(woken.expect("woken").expect("no panic"));
        }
    }
}
