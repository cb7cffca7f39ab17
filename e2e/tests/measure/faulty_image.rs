//! The first part of row 6: an image whose proxies refuse one CONNECT in ten. The rollout pauses by itself, and goes back
//! when somebody says so; how many of the clients that come and go meanwhile were refused.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use freshet_bench_load::raise_file_limit;
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::oci::Archive;
use freshet_e2e::product::images;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::broker::{Broker, DEADLINE, with_broker_alone};
use crate::client::Client;
use crate::loads::await_clients;
use crate::stage::{PROXY_CPU, resources};
use crate::table::{Figures, Row, Sheet};

const CLIENTS: u32 = 2_000;
/// A client stays for so long, goes, and comes again: a hundred CONNECTs a second.
const STAYS: Duration = Duration::from_secs(20);
/// Between the first connections of two clients.
const APART: Duration = Duration::from_millis(10);
/// How long one that was refused waits before it comes again.
const AGAIN: Duration = Duration::from_millis(500);
/// Clients that may be refused, in percent.
const GOAL_PERCENT: f64 = 25.0;

/// Four proxies; `image` is that of the new revision, and `action` what somebody has said of it.
fn spec(image: Option<&Archive>, action: &str) -> Result<Value> {
    let mut proxy = json!({
        "replicas": 4,
        "resources": resources(PROXY_CPU),
        "warm": {"min": 1, "requests": {"cpu": "5m", "memory": "16Mi"}},
        "rebalance": {"mode": "OnReconnectOnly"},
        "rollout": {"canary": "10m", "action": action},
    });
    if let Some(image) = image {
        let (repository, tag) = image.pinned_name().rsplit_once(':').context("an image without a tag")?;
        proxy["image"] = json!({"repository": repository, "tag": tag, "pullPolicy": "Never"});
        let fault = json!({"name": "FRESHET_PLANTED_FAULT", "value": "proxy:OneInTenRefused"});
        proxy["podTemplate"] = json!({"spec": {"containers": [{"name": "proxy", "env": [fault]}]}});
    }
    Ok(json!({"proxy": proxy}))
}

/// Clients that come and go until this is dropped.
struct Visitors {
    refused: Arc<Mutex<BTreeSet<u32>>>,
    stay: Arc<AtomicBool>,
    _visits: JoinSet<()>,
}

impl Visitors {
    async fn begin(address: SocketAddr) -> Self {
        raise_file_limit();
        let (refused, stay) = (Arc::default(), Arc::default());
        let mut visits = JoinSet::new();
        let mut ticks = tokio::time::interval(APART);
        for number in 0..CLIENTS {
            ticks.tick().await;
            visits.spawn(visit(address, number, Arc::clone(&refused), Arc::clone(&stay)));
        }
        Self {
            refused,
            stay,
            _visits: visits,
        }
    }

    /// Clients that were refused at least once, in percent.
    fn refused_percent(&self) -> f64 {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).len();
        f64::from(u32::try_from(refused).unwrap_or(u32::MAX)) * 100.0 / f64::from(CLIENTS)
    }

    /// From now on nobody goes who is there.
    fn stay(&self) {
        self.stay.store(true, Ordering::Relaxed);
    }
}

async fn visit(address: SocketAddr, number: u32, refused: Arc<Mutex<BTreeSet<u32>>>, stay: Arc<AtomicBool>) {
    loop {
        let Ok((mut client, _)) = Client::connect(address, &format!("visitor-{number}")).await else {
            refused.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        // Whoever is sent away comes again at once.
        let is_there = async { while let Ok(Some(())) = client.next(|_| ()).await {} };
        let _ = tokio::time::timeout(STAYS, is_there).await;
        while stay.load(Ordering::Relaxed) && client.ping().await.is_ok() {
            tokio::time::sleep(STAYS).await;
        }
    }
}

async fn await_phase(broker: &Broker<'_>, phase: &str) -> Result<()> {
    await_condition(&format!("the rollout is {phase}"), DEADLINE, async || {
        let revision = broker.resource().await?["status"]["proxy"]["revision"].clone();
        Ok(if revision["phase"] == phase {
            Observed::Met(())
        } else {
            Observed::NotYet(revision.to_string())
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn an_image_that_refuses_one_connect_in_ten() -> Result<()> {
    let image = images::build_proxy_with_mistakes().await?;
    with_broker_alone("measure-image", spec(None, "Continue")?, async |broker| {
        let sheet = Sheet::begin()?;
        broker.cluster.load_image(&image).await?;
        let address = broker.address().await?;
        broker.await_all_reached(4).await?;
        let visitors = Visitors::begin(address).await;
        ensure!(
            visitors.refused_percent() == 0.0,
            "somebody is refused without the image"
        );

        let began = Instant::now();
        broker.apply(spec(Some(&image), "Continue")?).await?;
        await_phase(broker, "Canary").await?;
        let canary = began.elapsed();
        let paused = broker.await_status("RolloutPaused", "True").await?;
        let (paused_after, at_pause) = (began.elapsed(), visitors.refused_percent());
        broker.apply(spec(Some(&image), "Rollback")?).await?;
        await_phase(broker, "Stable").await?;
        let (back_after, at_end) = (began.elapsed(), visitors.refused_percent());
        visitors.stay();
        await_clients(broker, usize::try_from(CLIENTS)?).await?;

        let message = paused["message"].as_str().unwrap_or_default();
        let row = Row::new(
            (6, 1),
            "an image that refuses 10 % of CONNECTs: clients that it refuses until the rollout is back",
            "%",
            Figures::of([at_end]),
        )
        .goal(format!("it pauses by itself; <= {GOAL_PERCENT:.0} %"), |figures| {
            paused["reason"] == "DoesWorse" && figures.max <= GOAL_PERCENT
        })
        .note(format!(
            "canary after {:.0} s, paused after {:.0} s with {at_pause:.1} % refused, back after {:.0} s",
            canary.as_secs_f64(),
            paused_after.as_secs_f64(),
            back_after.as_secs_f64()
        ))
        .note(message)
        .note(format!(
            "{CLIENTS} clients that come again every {} s, CPU limit {PROXY_CPU}",
            STAYS.as_secs()
        ));
        sheet.write(&[row])?;
        ensure!(paused["reason"] == "DoesWorse", "{paused}");
        ensure!(at_end > 0.0, "nobody was refused: nothing is shown");
        Ok(())
    })
    .await
}
