//! A new chart or operator moves no client; what it brings is taken when somebody asks.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::node::UpOptions;
use freshet_e2e::product::{self, Images, chart};
use freshet_e2e::progress::step;
use freshet_e2e::{Cluster, oci};
use serde_json::{Value, json};

use crate::broker::{Broker, DEADLINE, condition, with_one_more_broker};
use crate::client::Client;
use crate::turns;

#[tokio::test]
async fn an_upgrade_of_the_chart_moves_no_client_until_somebody_asks() -> Result<()> {
    let _turn = turns::alone().await?;
    let (cluster, images) = product::for_tests(UpOptions { nodes: Some(2) }).await?;
    let upgraded = with_one_more_broker("upgrade", json!({}), async |broker| {
        let address = broker.address().await?;
        let (mut client, _) = Client::connect(address, "stays").await?;
        let before = uids(broker).await?;
        let image = running_image(broker).await?;
        let said = condition(&broker.resource().await?, "UpgradeAvailable");
        ensure!(said["status"] == "False" && said["reason"] == "Current", "{said}");

        // Another image of the operator, other settings of it, and other images for clusters that name none: nobody could
        // run these.
        let unusable = [
            ("image.proxy.repository", "freshet/no-such-proxy"),
            ("image.storage.repository", "freshet/no-such-storage"),
            ("operator.logLevel", "debug"),
        ];
        upgrade(&cluster, &changed(&images, &unusable)?).await?;
        let said = await_newer(broker, "freshet/no-such-proxy").await?;
        ensure!(said.contains("freshet/no-such-storage"), "{said}");
        // What the operator does anyway goes on, and new proxies are like the others.
        broker.run(&["scale", "mqc/mqtt", "--replicas=3"]).await?;
        broker.await_ready("AllServing").await?;
        broker.await_pool().await?;
        let after = uids(broker).await?;
        ensure!(
            after.len() == before.len() + 1 && after.is_superset(&before),
            "one more, and none replaced: {before:?}, {after:?}"
        );
        ensure!(running_image(broker).await? == image, "the image stays");
        ensure!(
            !client.publish("a", b"x", false).await?.is_error(),
            "nobody has cut it off"
        );

        // Asked for, by the annotation that the condition names.
        let usable = other_name(&images)?;
        let values = changed(&images, &[("image.proxy.tag", usable.as_str())])?;
        upgrade(&cluster, &values).await?;
        let said = await_newer(broker, &format!("brings freshet/proxy:{usable};")).await?;
        let asked = said
            .split_whitespace()
            .find(|word| word.starts_with("freshet.dev/upgrade="))
            .with_context(|| format!("says how: {said}"))?;
        ensure!(
            !client.publish("a", b"x", false).await?.is_error(),
            "still nobody has cut it off"
        );
        broker.run(&["annotate", "mqc/mqtt", asked, "--overwrite"]).await?;
        await_condition("the cluster runs the other image", DEADLINE, async || {
            let now = running_image(broker).await?;
            Ok(if now.ends_with(&format!(":{usable}")) {
                Observed::Met(())
            } else {
                Observed::NotYet(now)
            })
        })
        .await?;
        broker.await_ready("AllServing").await?;
        let said = condition(&broker.resource().await?, "UpgradeAvailable");
        ensure!(said["status"] == "False", "{said}");
        client.end().await?;
        Client::connect(address, "stays").await?;
        Ok(())
    })
    .await;
    upgrade(&cluster, &images.chart_values()).await?;
    upgraded
}

/// The usual values of the chart with some changed, and another name of the operator's image.
fn changed(images: &Images, changes: &[(&str, &str)]) -> Result<Vec<(String, String)>> {
    let mut values = images.chart_values();
    let operator = ("image.operator.tag", other_name(images)?);
    let changes = changes.iter().map(|(name, value)| (*name, (*value).to_owned()));
    for (name, value) in changes.chain([operator]) {
        values.retain(|(known, _)| known != name);
        values.push((name.to_owned(), value));
    }
    Ok(values)
}

async fn upgrade(cluster: &Cluster, values: &[(String, String)]) -> Result<()> {
    let (kubectl, helm) = (cluster.kubectl(), cluster.helm());
    step("Freshet by Helm, upgraded", async |step| {
        chart::upgrade(&kubectl, &helm, values, step).await
    })
    .await
}

/// A tag under which the nodes have the same images as under those that the chart is usually told.
fn other_name(images: &Images) -> Result<String> {
    let archives: &[oci::Archive] = images.archives().context("images that were built here")?;
    let name = archives
        .iter()
        .flat_map(|archive| &archive.names)
        .next()
        .context("no name")?;
    let (_, tag) = name.rsplit_once(':').context("no tag")?;
    Ok(tag.to_owned())
}

/// Waits until the resource says that there is something newer, in words that have `part` in them.
async fn await_newer(broker: &Broker<'_>, part: &str) -> Result<String> {
    await_condition(&format!("something newer is told of: {part}"), DEADLINE, async || {
        let said = condition(&broker.resource().await?, "UpgradeAvailable");
        let message = said["message"].as_str().unwrap_or_default();
        Ok(if said["status"] == "True" && message.contains(part) {
            Observed::Met(message.to_owned())
        } else {
            Observed::NotYet(said.to_string())
        })
    })
    .await
}

/// The image of all proxies that accept.
async fn running_image(broker: &Broker<'_>) -> Result<String> {
    let selector = "freshet.dev/cluster=mqtt,freshet.dev/accepting=true";
    let listed = broker.get(&["pods", "--selector", selector]).await?;
    let pods = listed["items"].as_array().cloned().unwrap_or_default();
    let image = |pod: &Value| pod["spec"]["containers"][0]["image"].as_str().map(str::to_owned);
    let mut images: Vec<String> = pods.iter().filter_map(image).collect();
    images.dedup();
    match images.as_slice() {
        [one] => Ok(one.clone()),
        others => anyhow::bail!("not one image: {others:?}"),
    }
}

/// UIDs of the pods of proxies and storage that were not told to go.
async fn uids(broker: &Broker<'_>) -> Result<BTreeSet<String>> {
    let listed = broker.get(&["pods", "--selector", "freshet.dev/cluster=mqtt"]).await?;
    let pods = listed["items"].as_array().cloned().unwrap_or_default();
    let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    let uid = |pod: &Value| pod["metadata"]["uid"].as_str().map(str::to_owned);
    let uids: BTreeSet<String> = pods.iter().filter(stays).filter_map(uid).collect();
    ensure!(!uids.is_empty(), "there are no pods");
    Ok(uids)
}
