//! Freshet's processes: everything in one, or proxies and a storage node apart; in memory or with a folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use crate::processes::{Launch, Role, Running, Scratch, free_port, write};

/// UID that proxies and storage have in common.
const CLUSTER_UID: &str = "bench";
/// One worker in each proxy costs least where there are few CPUs.
const WORKERS: &str = "1";
/// Sessions that are let in: more than any work makes.
const SESSIONS: u64 = 2_000_000;
/// Where a broker with a folder keeps what it has acknowledged.
pub(crate) const DATA: &str = "data";
/// What a broker with a folder has said.
pub(crate) const LOG: &str = "log";

/// What is started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// Proxies beside a storage node; none: one process.
    pub(crate) proxies: Option<u8>,
    /// Acknowledges what is on the disk, not in memory.
    pub(crate) is_durable: bool,
    /// Seconds between checkpoints; none: the default.
    pub(crate) checkpoint_seconds: Option<u32>,
}

/// Starts it.
///
/// # Errors
/// When a program is missing or does not come up.
pub(crate) fn start(setup: Setup, base: &Path) -> anyhow::Result<Running> {
    let scratch = Scratch::new(base)?;
    let metrics = free_port()?;
    let launches = match setup.proxies {
        None => vec![in_one_process(setup, &scratch, metrics)?],
        Some(proxies) => {
            let (storage, nodes) = storage_node(setup, &scratch, metrics)?;
            let mut launches = vec![storage];
            for number in 0..proxies {
                launches.push(proxy(&scratch, number, nodes)?);
            }
            launches
        }
    };
    Running::start(launches, Some(metrics), Some(scratch))
}

/// Lets its processes say more when they are started again.
///
/// # Errors
/// When a configuration is missing.
pub(crate) fn log_more(running: &Running) -> anyhow::Result<()> {
    for name in ["cluster.yaml", "storage.json"] {
        let file = running.path(name)?;
        if file.exists() {
            let said = std::fs::read_to_string(&file)?;
            write(&file, &said.replace(r#""logLevel":"warn""#, r#""logLevel":"info""#))?;
        }
    }
    Ok(())
}

/// The version that the program says.
///
/// # Errors
/// When it is not built.
pub(crate) fn version() -> anyhow::Result<String> {
    let output = std::process::Command::new(program("freshet")?)
        .arg("--version")
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn in_one_process(setup: Setup, scratch: &Scratch, metrics: SocketAddr) -> anyhow::Result<Launch> {
    let address = free_port()?;
    let manifest = scratch.path("cluster.yaml");
    let limits = json!({"cluster": {"sessions": SESSIONS}});
    let observability = json!({"logLevel": "warn", "sysInterval": "0s"});
    let said = json!({
        "apiVersion": "freshet.dev/v1alpha1",
        "kind": "MqttCluster",
        "metadata": {"name": CLUSTER_UID},
        "spec": {"limits": limits, "observability": observability},
    });
    write(&manifest, &said.to_string())?;
    let mut arguments = vec!["standalone".to_owned()];
    arguments.extend(["--listen".to_owned(), address.to_string()]);
    arguments.extend(["--metrics".to_owned(), metrics.to_string()]);
    arguments.extend(["--config".to_owned(), text(&manifest)]);
    arguments.extend(data_arguments(setup, scratch));
    Ok(Launch {
        role: Role::Clients,
        program: program("freshet")?,
        arguments,
        address: Some(address),
        log: Some(scratch.path(LOG)),
    })
}

fn storage_node(setup: Setup, scratch: &Scratch, metrics: SocketAddr) -> anyhow::Result<(Launch, SocketAddr)> {
    let address = free_port()?;
    let config = scratch.path("storage.json");
    let said = json!({
        "clusterUid": CLUSTER_UID,
        "maxSessions": SESSIONS,
        "sysIntervalMs": 0,
        "logLevel": "warn",
    });
    write(&config, &said.to_string())?;
    let mut arguments = vec!["--config".to_owned(), text(&config)];
    arguments.extend(["--listen".to_owned(), address.to_string()]);
    arguments.extend(ports(metrics)?);
    arguments.extend(["--admin-port".to_owned(), free_port()?.port().to_string()]);
    arguments.extend(data_arguments(setup, scratch));
    let launch = Launch {
        role: Role::Storage,
        program: program("freshet-storage-node")?,
        arguments,
        address: Some(address),
        log: Some(scratch.path(LOG)),
    };
    Ok((launch, address))
}

fn proxy(scratch: &Scratch, number: u8, nodes: SocketAddr) -> anyhow::Result<Launch> {
    let address = free_port()?;
    let config = scratch.path(&format!("proxy-{number}.json"));
    let said = json!({
        "clusterUid": CLUSTER_UID,
        "storageEndpoints": [nodes.to_string()],
        "listeners": [{"name": "mqtt", "protocol": "mqtt", "port": address.port()}],
        "logLevel": "warn",
        "drainLingerMs": 0,
    });
    write(&config, &said.to_string())?;
    let mut arguments = vec!["--config".to_owned(), text(&config)];
    arguments.extend(["--pod-name".to_owned(), format!("proxy-{number}")]);
    arguments.extend(["--workers".to_owned(), WORKERS.to_owned()]);
    arguments.extend(ports(free_port()?)?);
    Ok(Launch {
        role: Role::Clients,
        program: program("freshet-proxy")?,
        arguments,
        address: Some(address),
        log: Some(scratch.path(&format!("proxy-{number}.log"))),
    })
}

fn ports(metrics: SocketAddr) -> anyhow::Result<[String; 4]> {
    let health = free_port()?.port().to_string();
    let metrics = metrics.port().to_string();
    Ok(["--health-port".to_owned(), health, "--metrics-port".to_owned(), metrics])
}

fn data_arguments(setup: Setup, scratch: &Scratch) -> Vec<String> {
    let mut arguments = Vec::new();
    if setup.is_durable {
        arguments.extend(["--data-dir".to_owned(), text(&scratch.path(DATA))]);
    }
    if let Some(seconds) = setup.checkpoint_seconds {
        arguments.extend(["--checkpoint-seconds".to_owned(), seconds.to_string()]);
    }
    arguments
}

/// Built beside this program.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name(name);
    let is_there = program.exists().then_some(program);
    is_there.with_context(|| format!("{name} is missing: `cargo build --release --bin {name}` makes it"))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
