//! Builds programs of the workspace with cargo, and asks it where they are.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, ensure};
use serde::Deserialize;
use tokio::process::Command;

use super::repository;
use crate::command;

/// A line of `--message-format=json` (The Cargo Book, "External tools"), as far as it is needed.
#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    target: Option<CargoTarget>,
    #[serde(default)]
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct CargoTarget {
    name: String,
}

/// Builds the named programs, and returns their files in the same order. Cargo's own progress goes to standard error.
pub(super) async fn build(binaries: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // All programs, as the tests build them: another selection would be another set of features of the dependencies,
    // and compile those again, which takes minutes.
    cargo
        .current_dir(repository())
        .args(["build", "--release", "--workspace", "--bins"])
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    for name in command::variables_of_cargo() {
        cargo.env_remove(name);
    }
    let output = cargo.spawn().context("cannot start cargo")?.wait_with_output().await?;
    ensure!(
        output.status.success(),
        "cargo build of {}: {}",
        binaries.join(", "),
        output.status
    );
    let said = String::from_utf8_lossy(&output.stdout);
    let find = |binary: &&str| executable(&said, binary).with_context(|| format!("cargo built no {binary}"));
    binaries.iter().map(find).collect()
}

fn executable(said: &str, binary: &str) -> Option<PathBuf> {
    said.lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .find_map(|message| (message.target?.name == binary).then_some(message.executable).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_of_the_same_name_is_not_the_program() {
        let said = r#"{"reason":"compiler-artifact","target":{"name":"freshet-proxy"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"freshet-proxy"},"executable":"/t/release/freshet-proxy"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(
            executable(said, "freshet-proxy"),
            Some("/t/release/freshet-proxy".into())
        );
        assert_eq!(executable(said, "freshet-operator"), None);
    }
}
