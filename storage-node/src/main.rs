//! `freshet-storage-node`: wires the configuration file, the node, health and metrics.

mod logging;

use std::{
    future::pending,
    hash::{BuildHasher, Hasher, RandomState},
    net::SocketAddr,
    path::PathBuf,
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use freshet_config::StorageConfig;
use freshet_storage_core::{DEFAULT_QUEUED_BYTES, StorageSettings};
use freshet_storage_node::{
    Node, NodeHandle,
    admin::{self, ShuttingDown},
    config_file,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::logging::LogLevel;

/// A storage node of a Freshet cluster.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The cluster's `storage.json`.
    #[arg(long, env = "FRESHET_CONFIG", default_value = "/etc/freshet/storage.json")]
    config: PathBuf,
    /// Where proxies connect.
    #[arg(long, env = "FRESHET_LISTEN", default_value = "0.0.0.0:7883")]
    listen: SocketAddr,
    /// Port of `/livez` and `/readyz`.
    #[arg(long, env = "FRESHET_HEALTH_PORT", default_value_t = 8080)]
    health_port: u16,
    /// Port of `/metrics`.
    #[arg(long, env = "FRESHET_METRICS_PORT", default_value_t = 9090)]
    metrics_port: u16,
    /// Bytes of messages that may be queued for sessions; beyond them publications that would add to it are held.
    #[arg(long, env = "FRESHET_QUEUED_BYTES", default_value_t = DEFAULT_QUEUED_BYTES)]
    queued_bytes: u64,
    /// Name of the pod, for log lines.
    #[arg(long, env = "POD_NAME", default_value = "freshet-storage-node")]
    pod_name: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(arguments))
}

async fn run(arguments: Arguments) -> Result<()> {
    let config = config_file::read(&arguments.config)?;
    let log_level = logging::init(&config.log_level)?;
    if config.cluster_uid.is_empty() {
        bail!(
            "{} names no clusterUid: every proxy would be refused",
            arguments.config.display()
        );
    }

    let node = Node::new(StorageSettings {
        queued_bytes: arguments.queued_bytes,
        ..StorageSettings::new(&config, hash_seed())
    })?;
    let handle = node.handle();
    let listener = bind(arguments.listen).await?;
    let shutting_down = ShuttingDown::default();
    let health = bind(SocketAddr::new(arguments.listen.ip(), arguments.health_port)).await?;
    let metrics = bind(SocketAddr::new(arguments.listen.ip(), arguments.metrics_port)).await?;
    let (health_address, metrics_address) = (health.local_addr()?, metrics.local_addr()?);
    // These three end with the process.
    tokio::spawn(admin::serve(
        health,
        admin::health(handle.clone(), shutting_down.clone()),
        pending(),
    ));
    tokio::spawn(admin::serve(metrics, admin::metrics(handle.clone()), pending()));
    tokio::spawn(follow_config(arguments.config, config, handle, log_level));

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (pod, listen, version) = (arguments.pod_name, listener.local_addr()?, env!("CARGO_PKG_VERSION"));
    tracing::info!(pod, version, %listen, health = %health_address, metrics = %metrics_address, "storage node started");
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shutting_down.set();
        tracing::info!("storage node shuts down");
    };
    node.serve(listener, shutdown).await?;
    tracing::info!("storage node has shut down");
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

/// Takes up what changes in the configuration file.
async fn follow_config(path: PathBuf, mut config: StorageConfig, node: NodeHandle, log_level: LogLevel) {
    loop {
        let changed = config_file::changed(path.clone(), &config).await;
        for field in config_file::needs_restart(&config, &changed) {
            tracing::warn!(field, "a change of this field is taken up at the next start");
        }
        if let Err(error) = log_level.set(&changed.log_level) {
            tracing::warn!(%error, "the log level stays");
        }
        node.reload(changed.clone()).await;
        tracing::info!("configuration taken up");
        config = changed;
    }
}

/// Drawn anew at each start; the standard library keys its own hash tables with the same randomness.
fn hash_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
