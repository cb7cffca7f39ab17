//! A Kubernetes namespace for the length of a test.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::Cluster;
use crate::condition::{Observed, await_condition};
use crate::diagnostics;

/// How long a namespace may take to go: pods in it get their grace period.
const DELETE_DEADLINE: Duration = Duration::from_secs(180);
/// How long the controllers may take to make a namespace usable.
const USABLE_DEADLINE: Duration = Duration::from_secs(60);
/// Longest part of a name that a test may choose, so that names made from it stay valid.
const MAX_LABEL_LENGTH: usize = 30;

/// Runs `test` in a namespace of its own, which goes afterwards, whatever happened.
///
/// The namespace enforces restricted pod security. When the test fails or panics, the namespace is written down
/// first, and the error says where.
///
/// # Errors
/// What `test` returns or its panic says; and when the namespace cannot be made, or something in it does not go.
pub async fn with_temp_namespace<T, W>(cluster: &Cluster, label: &str, test: W) -> anyhow::Result<T>
where
    W: AsyncFnOnce(&str) -> anyhow::Result<T>,
{
    let name = unique_name(label);
    let namespaces: Api<Namespace> = Api::all(cluster.client());
    let namespace: Namespace = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {
            "freshet.dev/test": label,
            "pod-security.kubernetes.io/enforce": "restricted",
        }},
    }))?;
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .with_context(|| format!("cannot make namespace {name}"))?;
    let work = async {
        await_usable(cluster.client(), &name).await?;
        test(&name).await
    };
    let result = match AssertUnwindSafe(work).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => Err(anyhow!("panicked: {}", panic_message(panic.as_ref()))),
    };
    let result = match result {
        Ok(value) => Ok(value),
        Err(error) => Err(match diagnostics::collect(cluster, &name).await {
            Ok(folder) => error.context(format!("diagnostics are in {}", folder.display())),
            Err(why) => error.context(format!("no diagnostics: {why:#}")),
        }),
    };
    let deleted = delete(&namespaces, &name).await;
    let value = result?;
    deleted?;
    Ok(value)
}

async fn delete(namespaces: &Api<Namespace>, name: &str) -> anyhow::Result<()> {
    namespaces
        .delete(name, &DeleteParams::default())
        .await
        .with_context(|| format!("cannot delete namespace {name}"))?;
    await_condition(&format!("namespace {name} is gone"), DELETE_DEADLINE, async || {
        Ok(match namespaces.get_opt(name).await? {
            None => Observed::Met(()),
            Some(namespace) => {
                let conditions = namespace
                    .status
                    .and_then(|status| status.conditions)
                    .unwrap_or_default();
                let messages: Vec<String> = conditions
                    .into_iter()
                    .filter_map(|condition| condition.message)
                    .collect();
                Observed::NotYet(messages.join("; "))
            }
        })
    })
    .await
}

/// Waits until pods can be made in a namespace: the controllers give it a ServiceAccount first.
pub(crate) async fn await_usable(client: kube::Client, name: &str) -> anyhow::Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client, name);
    await_condition(&format!("namespace {name} takes pods"), USABLE_DEADLINE, async || {
        Ok(match accounts.get_opt("default").await? {
            Some(_) => Observed::Met(()),
            None => Observed::NotYet("no ServiceAccount".to_owned()),
        })
    })
    .await
}

/// A name that no other test of this machine uses at this time.
fn unique_name(label: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let label: String = label
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .take(MAX_LABEL_LENGTH)
        .collect();
    format!(
        "t-{}-{}-{}",
        label.trim_matches('-'),
        std::process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    )
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid_and_differ() {
        let (first, second) = (
            unique_name("QoS 2 crosses proxies"),
            unique_name("QoS 2 crosses proxies"),
        );
        assert!(first.starts_with("t-qos-2-crosses-proxies-"), "{first}");
        assert_ne!(first, second);
        assert!(unique_name(&"x".repeat(100)).len() <= 63);
    }
}
