//! What the API server refuses when it is applied, and with which words.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use freshet_e2e::node::UpOptions;
use freshet_e2e::{product, with_temp_namespace};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::turns;

/// A case of `crds/tests/refused.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    what: String,
    #[serde(default)]
    name: Option<String>,
    /// For a change: what is there before.
    #[serde(default)]
    before: Option<Value>,
    spec: Value,
    message: String,
}

#[tokio::test]
async fn what_can_never_work_is_refused_with_a_message_that_names_the_field() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/tests/refused.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let cases: Vec<Case> = serde_saphyr::from_str(&text)?;
    ensure!(cases.len() >= 20, "only {} cases", cases.len());
    let _turn = turns::beside_others().await?;
    let (cluster, _images) = product::for_tests(UpOptions { nodes: Some(2) }).await?;
    with_temp_namespace(&cluster, "refused", async |namespace| {
        let kubectl = cluster.kubectl();
        for (number, case) in cases.iter().enumerate() {
            let name = case.name.clone().unwrap_or_else(|| format!("case-{number}"));
            let resource = |spec: &Value| {
                json!({
                    "apiVersion": "freshet.dev/v1alpha1", "kind": "MqttCluster",
                    "metadata": {"name": name, "namespace": namespace}, "spec": spec,
                })
            };
            if let Some(before) = &case.before {
                let mut before = before.clone();
                // Nothing is to be started for it.
                before["paused"] = json!(true);
                kubectl
                    .apply_as_a_person(&resource(&before))
                    .await
                    .with_context(|| case.what.clone())?;
            }
            match kubectl.apply_as_a_person(&resource(&case.spec)).await {
                Ok(said) => bail!("{} was taken: {said}", case.what),
                Err(refusal) => {
                    let refusal = format!("{refusal:#}");
                    ensure!(refusal.contains(&case.message), "{}: {refusal}", case.what);
                }
            }
        }
        Ok(())
    })
    .await
}
