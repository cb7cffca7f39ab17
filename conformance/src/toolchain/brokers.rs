//! What the brokers of others need to run: Debian's Mosquitto, Go, Java and cargo, and the pinned libraries.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use freshet_e2e::command;
use freshet_e2e::node::packages::{self, Group, find_program};
use freshet_e2e::progress::{Step, step};

use super::{Program, compile_java, copy, install, java};

/// Debian's Mosquitto, and the configuration without its listener.
///
/// # Errors
/// When the package cannot be installed.
pub(crate) async fn mosquitto_broker() -> anyhow::Result<(PathBuf, String)> {
    step("mosquitto broker", async |step: &Step| {
        packages::ensure(&[Group::Brokers], step).await
    })
    .await?;
    let file = sources("mosquitto").join("mosquitto.conf");
    let configuration = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok((find_program("mosquitto")?, configuration))
}

/// Mochi in a program of ours, with the library from the Go module proxy.
///
/// # Errors
/// When there is no Go, or the program cannot be built.
pub(crate) async fn mochi_broker() -> anyhow::Result<Program> {
    const KEYS: [&str; 3] = ["go.mod", "go.sum", "main.go"];
    let target = step("Mochi broker", async |step: &Step| {
        install(
            &sources("mochi"),
            "mochi-broker",
            &KEYS,
            step,
            async |source, target| {
                // Where Go is comes from `PATH`, as for the server components of the embedded Kubernetes.
                let mut go = tokio::process::Command::new("go");
                go.env("CGO_ENABLED", "0").current_dir(source);
                go.args(["build", "-mod=readonly", "-trimpath", "-o"]);
                go.arg(target.join("broker"));
                command::run(&mut go).await.map(drop)
            },
        )
        .await
    })
    .await?;
    Ok(Program::new(target.join("broker")))
}

/// HiveMQ CE in a program of ours, with the libraries from Maven Central; its folder comes last.
///
/// # Errors
/// When a package cannot be installed or the program does not compile.
pub(crate) async fn hivemq_broker() -> anyhow::Result<Program> {
    const KEYS: [&str; 2] = ["pom.xml", "Broker.java"];
    let source = sources("hivemq");
    let target = step("HiveMQ broker", async |step: &Step| {
        packages::ensure(&[Group::Java], step).await?;
        install(&source, "hivemq-broker", &KEYS, step, async |source, target| {
            compile_java(source, &["Broker.java"], target).await
        })
        .await
    })
    .await?;
    Ok(java(&target)?.args(["Broker".into(), source.join("config.xml").into_os_string()]))
}

/// rumqttd in a program of ours, with the crates from their registry.
///
/// # Errors
/// When the program cannot be built.
pub(crate) async fn rumqttd_broker() -> anyhow::Result<Program> {
    const KEYS: [&str; 3] = ["Cargo.toml", "Cargo.lock", "src/main.rs"];
    let target = step("rumqttd broker", async |step: &Step| {
        install(
            &sources("rumqttd"),
            "rumqttd-broker",
            &KEYS,
            step,
            async |source, target| {
                let build = target.join("build");
                let mut cargo =
                    tokio::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                for name in command::variables_of_cargo() {
                    cargo.env_remove(name);
                }
                cargo.env("CARGO_TARGET_DIR", &build).current_dir(source);
                cargo.args(["build", "--release", "--locked", "--quiet"]);
                command::run(&mut cargo).await?;
                copy(&build.join("release/rumqttd-broker"), &target.join("broker"))?;
                std::fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))
            },
        )
        .await
    })
    .await?;
    Ok(Program::new(target.join("broker")))
}

/// Where the sources and the configuration of a broker are.
fn sources(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("brokers").join(name)
}
