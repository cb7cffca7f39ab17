//! What tests build into programs is in no product: nothing in the workspace turns the feature on.
//!
//! With `planted-faults` a program makes mistakes when it is asked to, and its disk forgets. The tests that need such
//! programs name the feature to cargo, and have them in a folder of their own; whatever is built without naming it, images
//! above all, must not get it by way of some dependency.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Verdict;
use crate::{
    paths,
    steps::{Interrupt, Invocation, output_of},
};

/// What no product has.
const FEATURE: &str = "planted-faults";
const METADATA_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Deserialize)]
struct Metadata {
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    features: Vec<String>,
}

/// Asks cargo for the features of all crates, as the whole workspace with its tests is built.
///
/// # Errors
/// When cargo cannot read the workspace.
pub(super) async fn check_products(interrupt: &mut Interrupt) -> Result<Verdict> {
    let list = Invocation::cargo()
        .args(["metadata", "--locked", "--format-version", "1"])
        .dir(paths::repository_root());
    let text = output_of(&list, METADATA_TIMEOUT, interrupt).await?;
    judge(&text)
}

fn judge(metadata: &str) -> Result<Verdict> {
    let metadata: Metadata = serde_json::from_str(metadata).context("what cargo says of the workspace")?;
    let nodes = metadata.resolve.nodes;
    let findings = nodes
        .iter()
        .filter(|node| node.features.iter().any(|feature| feature == FEATURE))
        .map(|node| {
            format!(
                "{}: something turns `{FEATURE}` on, which products must not have",
                node.id
            )
        })
        .collect();
    Ok(Verdict::of(
        findings,
        format!("{} crates without {FEATURE}", nodes.len()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_with_the_feature_is_found() {
        let of = |features: &str| {
            judge(&format!(
                r#"{{"resolve": {{"nodes": [
                    {{"id": "a", "features": ["default"]}}, {{"id": "freshet-storage-log", "features": [{features}]}}]}}}}"#
            ))
            .unwrap()
        };
        assert!(matches!(of(r#""simulated""#), Verdict::Clean(_)));
        let Verdict::Findings(findings) = of(r#""simulated", "planted-faults""#) else {
            panic!("it was not found");
        };
        assert!(findings[0].starts_with("freshet-storage-log"), "{findings:?}");
    }
}
