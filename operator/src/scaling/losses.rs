//! Hears storage about proxies that do not answer or have lost it: the second witness, without which nobody is taken to be
//! dead or cut off (`freshet_operator_core::loss`).
//!
//! Storage is asked only while some proxy is doubted, beside the round in which the proxies are asked. What was heard is
//! there at the cluster's reconcile, which is asked for when it would change something.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use freshet_load::{Leases, leases};
use freshet_operator_api::MqttCluster;
use freshet_operator_core::loss::{
    DETACHED_ROUNDS, Fault, MISSED_ROUNDS, Testimonies, Testimony, can_be_lost, lease_of,
};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio::time::timeout;

use super::Looked;
use super::scrape::Scraper;
use crate::ask;

/// How long storage nodes may take to answer.
const PATIENCE: Duration = Duration::from_millis(600);
/// Clusters whose storage is asked at once.
const ASKED_AT_ONCE: usize = 32;
/// What was heard longer ago says nothing any more.
const HEARD_FOR: Duration = Duration::from_secs(5);

/// What was heard of proxies that are doubted, by cluster.
#[derive(Clone, Default)]
pub(super) struct Losses(Arc<Mutex<HashMap<ObjectRef<MqttCluster>, Heard>>>);

struct Heard {
    at: Instant,
    testimonies: Testimonies,
}

/// A cluster with proxies that are doubted.
pub(super) struct Doubted {
    key: ObjectRef<MqttCluster>,
    storage: Vec<SocketAddr>,
    proxies: Vec<DoubtedProxy>,
}

struct DoubtedProxy {
    uid: String,
    name: String,
    missed_rounds: u32,
    detached_rounds: u32,
    mark: Option<Fault>,
}

impl Losses {
    /// What was heard lately of a cluster's proxies.
    pub(super) fn known(&self, key: &ObjectRef<MqttCluster>) -> Testimonies {
        let all = self.all();
        let heard = all.get(key).filter(|heard| heard.at.elapsed() <= HEARD_FOR);
        heard.map(|heard| heard.testimonies.clone()).unwrap_or_default()
    }

    /// Asks storage about the proxies that are doubted. Returns the clusters for which something changes by that.
    pub(super) async fn hear(&self, doubted: Vec<Doubted>) -> Vec<ObjectRef<MqttCluster>> {
        let heard: Vec<(Doubted, Vec<Leases>)> = stream::iter(doubted)
            .map(|doubted| async {
                let answers = futures::future::join_all(doubted.storage.iter().map(|address| leases_at(*address)));
                let answers = answers.await.into_iter().flatten().collect();
                (doubted, answers)
            })
            .buffer_unordered(ASKED_AT_ONCE)
            .collect()
            .await;
        let mut news = Vec::new();
        let mut all = HashMap::with_capacity(heard.len());
        for (doubted, answers) in heard {
            let (testimonies, has_news) = doubted.testimonies(&answers);
            if has_news {
                news.push(doubted.key.clone());
            }
            let at = Instant::now();
            all.insert(doubted.key, Heard { at, testimonies });
        }
        *self.all() = all;
        news
    }

    fn all(&self) -> MutexGuard<'_, HashMap<ObjectRef<MqttCluster>, Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Doubted {
    /// What both witnesses say, and whether that changes anything.
    fn testimonies(&self, answers: &[Leases]) -> (Testimonies, bool) {
        let mut has_news = false;
        let testimonies = self
            .proxies
            .iter()
            .map(|proxy| {
                let testimony = Testimony {
                    missed_rounds: proxy.missed_rounds,
                    detached_rounds: proxy.detached_rounds,
                    lease: lease_of(&proxy.name, answers),
                };
                has_news |= testimony.is_news(proxy.mark);
                (proxy.uid.clone(), testimony)
            })
            .collect();
        (testimonies, has_news)
    }
}

impl DoubtedProxy {
    /// Whether storage is asked for its sake.
    fn is_doubted(&self) -> bool {
        self.mark.is_some() || self.missed_rounds >= MISSED_ROUNDS || self.detached_rounds >= DETACHED_ROUNDS
    }

    /// Whether it matters where others are doubted.
    fn says_something(&self) -> bool {
        self.is_doubted() || self.detached_rounds > 0
    }
}

/// Proxies that did not answer or have no storage, and those that are marked, of the clusters where some are doubted.
pub(super) fn doubted(looked: &[Looked], scraper: &Scraper) -> Vec<Doubted> {
    let of_cluster = |looked: &Looked| {
        let doubt = |pod: &Arc<Pod>| {
            let mark = can_be_lost(pod)?;
            let uid = pod.uid()?;
            let (missed_rounds, detached_rounds) = scraper.rounds_without(&uid);
            Some(DoubtedProxy {
                uid,
                name: pod.name_any(),
                missed_rounds,
                detached_rounds,
                mark,
            })
        };
        let proxies = looked.pods.iter().filter_map(doubt);
        let proxies: Vec<DoubtedProxy> = proxies.filter(DoubtedProxy::says_something).collect();
        proxies.iter().any(DoubtedProxy::is_doubted).then(|| Doubted {
            key: looked.key.clone(),
            storage: looked.storage.clone(),
            proxies,
        })
    };
    looked.iter().filter_map(of_cluster).collect()
}

async fn leases_at(address: SocketAddr) -> Option<Leases> {
    let answer = async {
        let body = ask::get(address, leases::PATH, leases::MAX_BYTES).await?;
        anyhow::Ok(leases::decode(&body)?)
    };
    match timeout(PATIENCE, answer).await {
        Ok(Ok(leases)) => Some(leases),
        Ok(Err(error)) => {
            tracing::debug!(%address, error = format!("{error:#}"), "leases at a storage node");
            None
        }
        Err(_) => {
            tracing::debug!(%address, "leases at a storage node do not come");
            None
        }
    }
}
