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

/// What programs that can make mistakes are built with, and which: as `xtask` builds them for the history checker.
const PLANTED: &str = "freshet/planted-faults,freshet-proxy/planted-faults,freshet-storage-node/planted-faults";
const PLANTED_BINARIES: [&str; 3] = ["freshet", "freshet-proxy", "freshet-storage-node"];

/// Builds the named programs, and returns their files in the same order. Cargo's own progress goes to standard error.
pub(super) async fn build(binaries: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    // All programs, as the tests build them: another selection would be another set of features of the dependencies,
    // and compile those again, which takes minutes.
    run(&["--workspace", "--bins"], binaries).await
}

/// Builds one of the programs so that it can make mistakes, in a folder of its own beside those of the product.
pub(super) async fn build_with_mistakes(binary: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program")?;
    let target = own
        .ancestors()
        .nth(3)
        .context("this program is in no folder of cargo")?;
    let folder = target.join("planted");
    let folder = folder.to_str().context("the folder of cargo is no text")?;
    let mut arguments = vec!["--features", PLANTED, "--target-dir", folder];
    arguments.extend(PLANTED_BINARIES.iter().flat_map(|name| ["--bin", name]));
    let built = run(&arguments, &[binary]).await?;
    built.into_iter().next().context("cargo built nothing")
}

async fn run(what: &[&str], binaries: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(repository())
        .args(["build", "--release"])
        .args(what)
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
