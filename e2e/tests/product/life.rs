//! One process of the storage node, and the next.

use anyhow::{Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};

use crate::broker::{Broker, DEADLINE, STORAGE_POD};

/// What tells one process of the storage node from the next.
pub(crate) async fn life(broker: &Broker<'_>) -> Result<String> {
    let pod = broker.get(&["pod", STORAGE_POD]).await?;
    let status = &pod["status"]["containerStatuses"][0];
    let id = status["containerID"].as_str().unwrap_or_default();
    ensure!(status["ready"] == true && !id.is_empty(), "it does not serve: {status}");
    Ok(format!("{} {id}", pod["metadata"]["uid"]))
}

/// Waits until another process of the storage node than `former` serves all proxies.
pub(crate) async fn await_another_life(broker: &Broker<'_>, former: &str) -> Result<()> {
    await_condition("another storage process serves", DEADLINE, async || {
        let now = life(broker).await?;
        let attached = broker.metric("freshet_proxy_storage_attached").await?;
        let serves_all = !attached.is_empty() && attached.values().all(|attached| *attached == 1);
        Ok(if now != former && serves_all {
            Observed::Met(())
        } else {
            Observed::NotYet(format!("{now}, proxies: {attached:?}"))
        })
    })
    .await
}
