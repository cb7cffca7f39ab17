//! What is free on nodes with proxies that wait or may soon, and which of them take no pods: looked up beside the reconcile,
//! which waits for nobody.
//!
//! What was found is there at the next reconcile, and is shared by all clusters. An operator that may not read nodes (it has
//! rights in some namespaces only) knows nothing, and asks again seldom: proxies are promoted all the same.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use freshet_operator_core::nodes::{PodsOfNode, room_of, takes_pods};
use freshet_operator_core::observe::{Observed, ProxyPod, Role};
use freshet_operator_core::plan::Rooms;
use freshet_operator_core::requests::Requests;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, Request};
use kube::{Api, Client, Resource};
use tokio::sync::Semaphore;

/// How old a finding is when it is looked up again.
const REFRESHED_AFTER: Duration = Duration::from_secs(30);
/// How old a finding is when it says nothing any more.
const STALE_AFTER: Duration = Duration::from_secs(120);
/// Pause after a look that was refused or failed.
const AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(300);
/// How long a look may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Nodes that are looked at together: the pods of one can be megabytes.
const LOOKS_AT_ONCE: usize = 2;
/// Nodes that are remembered; the largest clusters have fewer.
const NODES_MAX: usize = 10_000;

/// What is known of nodes.
#[derive(Clone)]
pub(super) struct NodeRooms {
    all: Arc<Mutex<HashMap<String, Known>>>,
    looks: Arc<Semaphore>,
}

impl Default for NodeRooms {
    fn default() -> Self {
        Self {
            all: Arc::default(),
            looks: Arc::new(Semaphore::new(LOOKS_AT_ONCE)),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Known {
    /// When it is looked up again.
    next: Instant,
    found: Option<(Instant, Found)>,
}

#[derive(Debug, Clone, Copy)]
struct Found {
    room: Requests,
    takes_pods: bool,
}

/// What is known of the nodes of one cluster's proxies.
#[derive(Debug, Default)]
pub(super) struct NodesNow {
    /// What is free on them.
    pub(super) rooms: Rooms,
    /// Those that take no pods.
    pub(super) closed: BTreeSet<String>,
}

impl NodeRooms {
    /// What is known of the nodes on which proxies wait or may soon. Looks up those of which nothing is, or nothing new.
    pub(super) fn known(&self, observed: &Observed, client: &Client) -> NodesNow {
        let nodes: BTreeSet<&str> = waiting_on(observed).collect();
        let now = Instant::now();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let is_remembered = |known: &Known| now.saturating_duration_since(known.next) < STALE_AFTER;
        if all.len() >= NODES_MAX {
            all.retain(|_, known| is_remembered(known));
        }
        let mut nodes_now = NodesNow::default();
        for node in nodes {
            let known = all.get(node).copied();
            let found = known.and_then(|known| known.found);
            if let Some((at, found)) = found
                && now.saturating_duration_since(at) < STALE_AFTER
            {
                nodes_now.rooms.insert(node.to_owned(), found.room);
                if !found.takes_pods {
                    nodes_now.closed.insert(node.to_owned());
                }
            }
            if known.is_none_or(|known| known.next <= now) && all.len() < NODES_MAX {
                let next = now + REFRESHED_AFTER;
                all.insert(node.to_owned(), Known { next, found });
                self.look_up(node.to_owned(), client.clone());
            }
        }
        nodes_now
    }

    /// When to look again for the sake of proxies that wait; nothing when none does.
    pub(super) fn look_again_after(&self, observed: &Observed) -> Option<Duration> {
        waiting_on(observed).next().map(|_| REFRESHED_AFTER)
    }

    fn look_up(&self, node: String, client: Client) {
        let rooms = self.clone();
        tokio::spawn(async move {
            // It is never closed.
            let _turn = rooms.looks.acquire().await;
            let found = match tokio::time::timeout(TIMEOUT, find(&node, client)).await {
                Ok(Ok(found)) => Some(found),
                Ok(Err(error)) => {
                    tracing::debug!(node, %error, "the room on a node");
                    None
                }
                Err(_) => {
                    tracing::debug!(node, "the room on a node does not come");
                    None
                }
            };
            let now = Instant::now();
            let mut all = rooms.all.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(known) = all.get_mut(&node) else { return };
            match found {
                Some(found) => known.found = Some((now, found)),
                None => known.next = now + AGAIN_AFTER_FAILURE,
            }
        });
    }
}

fn waiting_on(observed: &Observed) -> impl Iterator<Item = &str> {
    let may_wait =
        |proxy: &&ProxyPod| (proxy.is_warm() || proxy.role == Some(Role::Draining)) && !proxy.pod.is_deleting;
    let waits = observed.proxies.iter().filter(may_wait);
    waits.filter_map(|proxy| proxy.pod.node.as_deref())
}

async fn find(node: &str, client: Client) -> Result<Found, kube::Error> {
    let of = Api::<Node>::all(client.clone()).get(node).await?;
    // Whatever the API server remembers is new enough: it asks nobody for it.
    let on_node = ListParams::default()
        .fields(&format!("spec.nodeName={node}"))
        .match_any();
    let request = Request::new(Pod::url_path(&(), None)).list(&on_node);
    let pods: PodsOfNode = client.request(request.map_err(kube::Error::BuildRequest)?).await?;
    Ok(Found {
        room: room_of(&of, &pods),
        takes_pods: takes_pods(&of),
    })
}
