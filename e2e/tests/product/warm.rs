//! Proxies that wait: who takes the place of one that is lost, who is the next when more are asked for, and what they
//! reserve on their nodes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::mosquitto::publish;
use freshet_e2e::pod_process;
use serde_json::{Value, json};

use crate::broker::{Broker, DEADLINE, PROXY, condition, with_broker, with_broker_alone};
use crate::client::Client;

const WARM: &str = "freshet.dev/cluster=mqtt,freshet.dev/role=warm";
const PROXIES: &str = "freshet.dev/cluster=mqtt,app.kubernetes.io/component=proxy";

/// How long a proxy that waits may take to serve in the place of another.
const PROMOTION_DEADLINE: Duration = Duration::from_secs(2);

/// A pool whose proxies reserve less than active ones, on nodes that have room for them.
fn pool(min: u32) -> Value {
    json!({"proxy": {"warm": {"min": min, "requests": {"cpu": "5m", "memory": "16Mi"}}}})
}

/// Waits until `count` proxies are ready and wait; returns their names.
async fn await_warm(broker: &Broker<'_>, count: usize) -> Result<BTreeSet<String>> {
    await_condition(&format!("{count} proxies wait"), DEADLINE, async || {
        let status = broker.resource().await?["status"]["proxy"].clone();
        let warm = broker.pods(WARM).await?;
        Ok(if status["warm"] == count && warm.len() == count {
            Observed::Met(warm.into_iter().collect())
        } else {
            Observed::NotYet(format!("{warm:?}, {status}"))
        })
    })
    .await
}

async fn accepting(broker: &Broker<'_>) -> Result<BTreeSet<String>> {
    Ok(broker.accepting().await?.into_iter().collect())
}

/// Names of the pods behind the client Service that take connections.
async fn endpoints(broker: &Broker<'_>) -> Result<BTreeSet<String>> {
    let selector = "kubernetes.io/service-name=mqtt";
    let slices = broker.get(&["endpointslices", "--selector", selector]).await?;
    let slices = slices["items"].as_array().cloned().unwrap_or_default();
    let all = slices
        .iter()
        .filter_map(|slice| slice["endpoints"].as_array())
        .flatten();
    let serving = all.filter(|endpoint| endpoint["conditions"]["ready"] == true);
    let name = |endpoint: &Value| endpoint["targetRef"]["name"].as_str().map(str::to_owned);
    Ok(serving.filter_map(name).collect())
}

/// What the container of a pod asks to have reserved, and what the kubelet has reserved for it.
async fn requests(broker: &Broker<'_>, pod: &str) -> Result<(Value, Value)> {
    let pod = broker.get(&["pod", pod]).await?;
    let asked = pod["spec"]["containers"][0]["resources"]["requests"].clone();
    let given = pod["status"]["containerStatuses"][0]["resources"]["requests"].clone();
    Ok((asked, given))
}

/// What tells a container from the next one in the same pod.
async fn container_id(broker: &Broker<'_>, pod: &str) -> Result<String> {
    let pod = broker.get(&["pod", pod]).await?;
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str();
    id.map(str::to_owned).context("no container")
}

#[tokio::test]
async fn a_cluster_has_a_pool_that_no_client_reaches() -> Result<()> {
    with_broker("warm-pool", pool(2), async |broker| {
        let warm = await_warm(broker, 2).await?;
        let serving = accepting(broker).await?;
        ensure!(
            serving.len() == 2 && serving.is_disjoint(&warm),
            "{serving:?}, {warm:?}"
        );
        ensure!(endpoints(broker).await? == serving);
        for pod in &warm {
            let (asked, _) = requests(broker, pod).await?;
            ensure!(asked == json!({"cpu": "5m", "memory": "16Mi"}), "{asked}");
        }
        let columns = broker.run(&["get", "mqc", "mqtt"]).await?;
        let words: Vec<&str> = columns.lines().nth(1).context("no line")?.split_whitespace().collect();
        ensure!(words[..6] == ["mqtt", "True", "2", "2", "2", "0"], "{columns}");
        let scale = broker
            .run(&["get", "mqc", "mqtt", "--output=jsonpath={.status.proxy.active}"])
            .await?;
        ensure!(scale == "2", "the pool is not part of /scale: {scale}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_lost_proxy_is_replaced_within_two_seconds_and_the_pool_refills() -> Result<()> {
    with_broker_alone("warm-lost", pool(1), async |broker| {
        let warm = await_warm(broker, 1).await?;
        let lost = broker.accepting().await?.pop().context("nobody serves")?;
        let address = broker.address().await?;
        let since = Instant::now();
        broker
            .run(&["delete", "pod", &lost, "--wait=false", "--grace-period=1"])
            .await?;
        await_condition("the Service leads to the one that waited", DEADLINE, async || {
            let now = endpoints(broker).await?;
            Ok(if warm.is_subset(&now) {
                Observed::Met(())
            } else {
                Observed::NotYet(format!("{now:?}"))
            })
        })
        .await?;
        let took = since.elapsed();
        ensure!(took <= PROMOTION_DEADLINE, "it took {took:?}");
        publish(address, &["-t", "a", "-q", "1", "-m", "served"]).await?;
        let note = broker.await_event("ProxyPromoted").await?;
        ensure!(note.starts_with("taking connections: "), "{note}");
        let refilled = await_warm(broker, 1).await?;
        ensure!(refilled.is_disjoint(&warm), "another one waits now: {refilled:?}");
        ensure!(accepting(broker).await?.is_superset(&warm));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_proxy_that_starts_again_finds_its_place_taken_and_waits() -> Result<()> {
    with_broker("warm-killed", pool(1), async |broker| {
        let warm = await_warm(broker, 1).await?;
        let killed = broker.accepting().await?.pop().context("nobody serves")?;
        pod_process::kill_container(broker.cluster, broker.namespace, &killed, PROXY).await?;
        let waits = await_condition("it waits", DEADLINE, async || {
            let waiting = broker.pods(WARM).await?;
            Ok(if waiting == [killed.clone()] {
                Observed::Met(await_warm(broker, 1).await?)
            } else {
                Observed::NotYet(format!("{waiting:?}"))
            })
        })
        .await?;
        ensure!(waits.contains(&killed));
        let serving = accepting(broker).await?;
        ensure!(serving.len() == 2 && serving.is_superset(&warm), "{serving:?}");
        ensure!(broker.pods(PROXIES).await?.len() == 3, "no pod was replaced");
        publish(broker.address().await?, &["-t", "a", "-q", "1", "-m", "served"]).await
    })
    .await
}

#[tokio::test]
async fn scale_out_promotes_who_waits_and_raises_what_it_reserves_in_place() -> Result<()> {
    with_broker("warm-scale", pool(1), async |broker| {
        let warm = await_warm(broker, 1).await?.pop_first().context("nobody waits")?;
        let container = container_id(broker, &warm).await?;
        let before = accepting(broker).await?;
        broker.run(&["scale", "mqc/mqtt", "--replicas=3"]).await?;
        await_condition("it serves with all that it should reserve", DEADLINE, async || {
            let serving = accepting(broker).await?;
            let (asked, given) = requests(broker, &warm).await?;
            let full = json!({"cpu": "20m", "memory": "32Mi"});
            Ok(if serving.contains(&warm) && asked == full && given == full {
                Observed::Met(())
            } else {
                Observed::NotYet(format!("{serving:?}, {asked}, {given}"))
            })
        })
        .await?;
        let serving = accepting(broker).await?;
        ensure!(serving.len() == 3 && serving.is_superset(&before), "{serving:?}");
        ensure!(container_id(broker, &warm).await? == container, "nothing was restarted");
        await_warm(broker, 1).await?;
        let resize = condition(&broker.resource().await?, "ResizeDeferred");
        ensure!(resize["status"] == "False", "{resize}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn scale_in_and_a_smaller_pool_leave_the_others_as_they_are() -> Result<()> {
    with_broker("warm-smaller", pool(2), async |broker| {
        let warm = await_warm(broker, 2).await?;
        broker.run(&["scale", "mqc/mqtt", "--replicas=1"]).await?;
        let serving = await_condition("one proxy serves, and its victim is gone", DEADLINE, async || {
            let (serving, all) = (accepting(broker).await?, broker.pods(PROXIES).await?);
            Ok(if serving.len() == 1 && all.len() == 3 {
                Observed::Met(serving)
            } else {
                Observed::NotYet(format!("{serving:?} of {all:?}"))
            })
        })
        .await?;
        ensure!(await_warm(broker, 2).await? == warm, "the same ones wait");

        let (mut client, _) = Client::connect(broker.address().await?, "stays").await?;
        broker
            .run(&[
                "patch",
                "mqc",
                "mqtt",
                "--type=merge",
                "--patch",
                r#"{"spec":{"proxy":{"warm":{"min":0}}}}"#,
            ])
            .await?;
        await_condition("nobody waits any more", DEADLINE, async || {
            let all = broker.pods(PROXIES).await?;
            Ok(if all.len() == 1 {
                Observed::Met(())
            } else {
                Observed::NotYet(format!("{all:?}"))
            })
        })
        .await?;
        ensure!(accepting(broker).await? == serving);
        client.ping().await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_proxy_serves_without_its_reservation_where_the_node_is_full_and_the_condition_says_so() -> Result<()> {
    // More than any node of the tests has; what waits needs next to nothing.
    let spec = json!({"proxy": {
        "replicas": 1,
        "resources": {"requests": {"cpu": "20m", "memory": "900Gi"}, "limits": {"cpu": "1", "memory": "901Gi"}},
        "warm": {"min": 1, "requests": {"cpu": "5m", "memory": "16Mi"}},
    }});
    with_broker("warm-full", spec, async |broker| {
        let said = broker.await_status("ResizeDeferred", "True").await?;
        let serving = broker.accepting().await?;
        let [proxy] = &serving[..] else {
            anyhow::bail!("one serves: {serving:?}")
        };
        let message = said["message"].as_str().unwrap_or_default();
        ensure!(message.starts_with(proxy.as_str()), "names the proxy: {said}");
        ensure!(message.contains("memory"), "says what is missing: {said}");
        publish(broker.address().await?, &["-t", "a", "-q", "1", "-m", "served"]).await?;
        let ready = condition(&broker.resource().await?, "Ready");
        ensure!(ready["status"] == "True", "{ready}");
        // A proxy that waits is there all the same, and nothing is promised of it.
        await_warm(broker, 1).await?;
        let status = broker.resource().await?["status"]["proxy"].clone();
        ensure!(status["promotable"] == 0, "{status}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn active_proxies_serve_on_where_a_quota_leaves_no_pod_for_the_pool() -> Result<()> {
    with_broker("warm-quota", pool(0), async |broker| {
        let serving = accepting(broker).await?;
        let pods = broker.get(&["pods"]).await?["items"].as_array().map_or(0, Vec::len);
        let quota = format!("--hard=pods={pods}");
        broker.run(&["create", "quota", "full", &quota]).await?;
        broker.apply(pool(1)).await?;
        let said = broker.await_status("Degraded", "True").await?;
        let message = said["message"].as_str().unwrap_or_default();
        ensure!(message.contains("exceeded quota: full"), "quotes the quota: {said}");
        let resource = broker.await_ready("AllServing").await?;
        ensure!(resource["status"]["proxy"]["warm"] == 0);
        ensure!(accepting(broker).await? == serving);
        broker.run(&["delete", "quota", "full"]).await?;
        await_warm(broker, 1).await?;
        broker.await_status("Degraded", "False").await?;
        Ok(())
    })
    .await
}
