//! What users see, and do not see, when the operator dies, is away, or is taken away.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::mosquitto::{Subscriber, publish};
use freshet_e2e::pod_process;
use freshet_e2e::product::{self, Images, chart};
use freshet_e2e::progress::step;
use freshet_e2e::{Cluster, node::UpOptions};
use serde_json::json;

use crate::broker::{Broker, DEADLINE, MESSAGE_DEADLINE, with_broker_alone};
use crate::operators::{REPLICAS, get, run, scale, without_operator};

/// How long nobody may look after clusters when the leader was killed: its lease runs out.
const TAKEOVER_AFTER_KILL: Duration = Duration::from_secs(20);
/// The same when it was told to stop: it gives the lease back.
const TAKEOVER_AFTER_STOP: Duration = Duration::from_secs(3);
const CONTAINER: &str = "operator";

/// Who leads.
async fn leader(cluster: &Cluster) -> Result<String> {
    await_condition("an operator leads", DEADLINE, async || {
        let lease = get(cluster, &["lease", "freshet-operator"]).await?;
        Ok(match lease["spec"]["holderIdentity"].as_str().unwrap_or_default() {
            "" => Observed::NotYet("nobody holds the lease".to_owned()),
            holder => Observed::Met(holder.to_owned()),
        })
    })
    .await
}

/// Asks for three proxies, and returns how long after `since` somebody did so.
async fn await_third_proxy(broker: &Broker<'_>, since: Instant) -> Result<Duration> {
    broker.run(&["scale", "mqc/mqtt", "--replicas=3"]).await?;
    await_condition("a Deployment asks for the third proxy", DEADLINE, async || {
        let all = broker.get(&["deployments"]).await?;
        let replicas = all["items"][0]["spec"]["replicas"].clone();
        // Three that serve, and one that waits.
        Ok(if replicas == 4 {
            Observed::Met(since.elapsed())
        } else {
            Observed::NotYet(replicas.to_string())
        })
    })
    .await
}

#[tokio::test]
async fn the_second_replica_takes_over_when_the_leader_is_killed() -> Result<()> {
    with_broker_alone("leader-killed", json!({}), async |broker| {
        scale(broker.cluster, REPLICAS).await?;
        let first = leader(broker.cluster).await?;
        let since = Instant::now();
        // Stopped where it is, and killed by its kubelet two seconds later: it gives nothing back. A container that is killed
        // while its pod lives is started again within a second, and goes on under its own name before the pod is deleted.
        let _frozen = pod_process::freeze_container(broker.cluster, chart::NAMESPACE, &first, CONTAINER).await?;
        run(
            broker.cluster,
            &["delete", "pod", &first, "--grace-period=0", "--force"],
        )
        .await?;
        let took = await_third_proxy(broker, since).await?;
        ensure!(took <= TAKEOVER_AFTER_KILL, "nobody for {took:?}");
        ensure!(leader(broker.cluster).await? != first);
        broker.await_ready("AllServing").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_second_replica_takes_over_at_once_when_the_leader_is_told_to_stop() -> Result<()> {
    with_broker_alone("leader-stopped", json!({}), async |broker| {
        scale(broker.cluster, REPLICAS).await?;
        let first = leader(broker.cluster).await?;
        let since = Instant::now();
        run(broker.cluster, &["delete", "pod", &first, "--wait=false"]).await?;
        let took = await_third_proxy(broker, since).await?;
        ensure!(took <= TAKEOVER_AFTER_STOP, "nobody for {took:?}");
        ensure!(leader(broker.cluster).await? != first);
        broker.await_ready("AllServing").await?;
        Ok(())
    })
    .await
}

/// Names of the proxies behind the client Service.
async fn await_endpoints(broker: &Broker<'_>, wanted: &[String]) -> Result<()> {
    let selector = "kubernetes.io/service-name=mqtt";
    await_condition(&format!("the Service leads to {wanted:?}"), DEADLINE, async || {
        let slices = broker.get(&["endpointslices", "--selector", selector]).await?;
        let slices = slices["items"].as_array().cloned().unwrap_or_default();
        let endpoints = slices
            .iter()
            .filter_map(|slice| slice["endpoints"].as_array())
            .flatten();
        let serving = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
        let mut names: Vec<String> = serving
            .filter_map(|endpoint| endpoint["targetRef"]["name"].as_str().map(str::to_owned))
            .collect();
        names.sort_unstable();
        Ok(if names == wanted {
            Observed::Met(())
        } else {
            Observed::NotYet(format!("{names:?}"))
        })
    })
    .await
}

#[tokio::test]
async fn without_an_operator_a_person_moves_clients_by_a_label() -> Result<()> {
    with_broker_alone("break-glass", json!({}), async |broker| {
        let mut proxies = broker.accepting().await?;
        proxies.sort_unstable();
        let address = broker.address().await?;
        without_operator(broker.cluster, async || {
            let pod = format!("pod/{}", proxies[0]);
            broker.run(&["label", &pod, "freshet.dev/accepting-"]).await?;
            await_endpoints(broker, &proxies[1..]).await?;
            publish(address, &["-t", "a", "-q", "1", "-m", "by the other"]).await?;
            broker.run(&["label", &pod, "freshet.dev/accepting=true"]).await?;
            await_endpoints(broker, &proxies).await?;
            // Left as no operator would leave it.
            let pod = format!("pod/{}", proxies[1]);
            broker.run(&["label", &pod, "freshet.dev/accepting-"]).await?;
            await_endpoints(broker, &proxies[..1]).await
        })
        .await?;
        await_endpoints(broker, &proxies).await?;
        broker.await_ready("AllServing").await?;
        Ok(())
    })
    .await
}

/// What tells one pod from another of its name, and a process from the next in it.
async fn lives(broker: &Broker<'_>) -> Result<Vec<String>> {
    let pods = broker.get(&["pods", "--selector", "freshet.dev/cluster=mqtt"]).await?;
    let pods = pods["items"].as_array().cloned().unwrap_or_default();
    let mut lives: Vec<String> = pods
        .iter()
        .map(|pod| {
            format!(
                "{} {}",
                pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["containerID"]
            )
        })
        .collect();
    lives.sort_unstable();
    ensure!(lives.len() >= 3, "two proxies and a storage node: {lives:?}");
    Ok(lives)
}

#[tokio::test]
async fn brokers_go_on_serving_when_the_chart_is_uninstalled_and_installed_again() -> Result<()> {
    with_broker_alone("uninstalled", json!({}), async |broker| {
        let (_, images) = product::for_tests(UpOptions { nodes: Some(2) }).await?;
        let before = lives(broker).await?;
        let address = broker.address().await?;
        let mut subscriber = Subscriber::start(address, &["-t", "a", "-q", "1"], MESSAGE_DEADLINE).await?;
        let (kubectl, helm) = (broker.kubectl(), broker.cluster.helm());
        helm.run(&["uninstall", "freshet", "--namespace", chart::NAMESPACE, "--wait"])
            .await?;
        let while_away = async {
            publish(address, &["-t", "a", "-q", "1", "-m", "without a chart"]).await?;
            ensure!(subscriber.next(MESSAGE_DEADLINE).await?.payload == "without a chart");
            ensure!(lives(broker).await? == before, "no process was touched");
            Ok(())
        }
        .await;
        install(&kubectl, &helm, &images).await?;
        while_away?;
        let generation = broker.resource().await?["metadata"]["generation"].clone();
        // A change, to see that it is looked after again.
        broker.run(&["scale", "mqc/mqtt", "--replicas=3"]).await?;
        await_condition("three proxies accept", DEADLINE, async || {
            let accepting = broker.accepting().await?;
            Ok(if accepting.len() == 3 {
                Observed::Met(())
            } else {
                Observed::NotYet(format!("{accepting:?} of generation {generation}"))
            })
        })
        .await?;
        let after = lives(broker).await?;
        ensure!(before.iter().all(|life| after.contains(life)), "{before:?} {after:?}");
        publish(address, &["-t", "a", "-q", "1", "-m", "with it again"]).await?;
        ensure!(subscriber.next(MESSAGE_DEADLINE).await?.payload == "with it again");
        Ok(())
    })
    .await
}

async fn install(
    kubectl: &freshet_e2e::kubectl::Kubectl,
    helm: &freshet_e2e::kubectl::Helm,
    images: &Images,
) -> Result<()> {
    step("Freshet by Helm, again", async |step| {
        chart::install(kubectl, helm, images, step).await
    })
    .await
}
