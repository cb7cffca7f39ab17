//! Which test programs and fuzz targets the workspace has, asked of cargo, so that a new one is run without being
//! named anywhere.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{
    paths,
    steps::{Interrupt, Invocation, output_of},
};

const METADATA_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Names of integration tests by package.
pub(super) async fn integration_tests(interrupt: &mut Interrupt) -> Result<BTreeMap<String, Vec<String>>> {
    let metadata = read_metadata(&paths::repository_root().join("Cargo.toml"), interrupt).await?;
    let tests = names_by_package(&metadata, "test");
    require_unique(&tests)?;
    Ok(tests)
}

/// Names of the fuzz targets, in order.
pub(super) async fn fuzz_targets(manifest: &Path, interrupt: &mut Interrupt) -> Result<Vec<String>> {
    let metadata = read_metadata(manifest, interrupt).await?;
    Ok(names_by_package(&metadata, "bin").into_values().flatten().collect())
}

async fn read_metadata(manifest: &Path, interrupt: &mut Interrupt) -> Result<Metadata> {
    let list = Invocation::cargo()
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .args([manifest]);
    let text = output_of(&list, METADATA_TIMEOUT, interrupt).await?;
    serde_json::from_str(&text).with_context(|| format!("what `{list}` printed"))
}

fn names_by_package(metadata: &Metadata, kind: &str) -> BTreeMap<String, Vec<String>> {
    let mut names = BTreeMap::new();
    for package in &metadata.packages {
        let of_kind = package
            .targets
            .iter()
            .filter(|target| target.kind.iter().any(|k| k == kind));
        let mut of_package: Vec<String> = of_kind.map(|target| target.name.clone()).collect();
        of_package.sort();
        names.insert(package.name.clone(), of_package);
    }
    names
}

/// `cargo test --workspace --test NAME` runs every test of that name: two would run in two parts.
fn require_unique(tests: &BTreeMap<String, Vec<String>>) -> Result<()> {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (package, names) in tests {
        for name in names {
            if let Some(other) = seen.insert(name, package) {
                anyhow::bail!("`{other}` and `{package}` both have an integration test `{name}`: rename one");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_listed_by_package_and_kind() {
        let metadata: Metadata = serde_json::from_str(
            r#"{"packages": [{"name": "a", "targets": [
                {"name": "t2", "kind": ["test"]}, {"name": "t1", "kind": ["test"]}, {"name": "a", "kind": ["lib"]}]}]}"#,
        )
        .unwrap();
        assert_eq!(names_by_package(&metadata, "test")["a"], ["t1", "t2"]);
        assert_eq!(names_by_package(&metadata, "bin")["a"], [""; 0]);
    }

    #[test]
    fn two_tests_of_one_name_are_refused() {
        let names = |name: &str| vec![name.to_owned()];
        let tests = BTreeMap::from([("a".to_owned(), names("golden")), ("b".to_owned(), names("golden"))]);
        let error = require_unique(&tests).unwrap_err().to_string();
        assert!(error.contains("`golden`"), "{error}");
    }
}
