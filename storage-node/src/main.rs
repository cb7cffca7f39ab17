//! `freshet-storage-node`: wires the configuration file, the node, health and metrics.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, bail};
use clap::Parser;
use freshet_config::StorageConfig;
use freshet_process::{
    ConfigReloads, LogFormat, LogLevel, health_routes, listen, metrics_routes, read_config, serve_admin, start_logging,
    watch_config,
};
use freshet_storage_core::{DEFAULT_QUEUED_RESIDENT_BYTES, DEFAULT_SESSION_BYTES, StorageSettings};
use freshet_storage_node::{DiskOptions, Node, NodeHandle, NodeHealth, ShuttingDown, inspection_routes, lease_routes};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

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
    /// Port of `/metrics` and `/leases`.
    #[arg(long, env = "FRESHET_METRICS_PORT", default_value_t = 9090)]
    metrics_port: u16,
    /// Port on 127.0.0.1 at which `freshet admin` looks at this node. It shows client ids and topics, to this machine (or
    /// pod) alone.
    #[arg(long, env = "FRESHET_ADMIN_PORT", default_value_t = 9091)]
    admin_port: u16,
    /// Bytes of messages that may be queued for sessions; beyond them publications that would add to it are held.
    /// [default: 512 MiB, or 40 % of the file system of --data-dir where that is more]
    #[arg(long, env = "FRESHET_QUEUED_BYTES", value_name = "BYTES")]
    queued_bytes: Option<u64>,
    /// Bytes of queued messages in memory, beyond which those that a checkpoint has are on disk alone. Without --data-dir it
    /// says nothing.
    #[arg(long, env = "FRESHET_QUEUED_MEMORY_BYTES", value_name = "BYTES", default_value_t = DEFAULT_QUEUED_RESIDENT_BYTES)]
    queued_memory_bytes: u64,
    /// Bytes of client ids, wills and stored sessions; beyond them clients and subscriptions of stored sessions are refused.
    #[arg(long, env = "FRESHET_SESSION_BYTES", value_name = "BYTES", default_value_t = DEFAULT_SESSION_BYTES)]
    session_bytes: u64,
    /// The folder that keeps what was acknowledged. Without it everything ends with the process.
    #[arg(long, env = "FRESHET_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Seconds between checkpoints of the state; they bound what a start applies again.
    #[arg(long, env = "FRESHET_CHECKPOINT_SECONDS", value_name = "N", default_value_t = 30)]
    checkpoint_seconds: u32,
    /// Name of the pod, for log lines.
    #[arg(long, env = "POD_NAME", default_value = "freshet-storage-node")]
    pod_name: String,
}

/// Its settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<()> {
    #[cfg(feature = "planted-faults")]
    if !freshet_storage_node::for_tests::prepare()? {
        return Ok(());
    }
    let arguments = Arguments::parse();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(arguments))
}

async fn run(arguments: Arguments) -> Result<()> {
    let config: StorageConfig = read_config(&arguments.config)?;
    let log_level = start_logging(LogFormat::Json, &config.log_level)?;
    if config.cluster_uid.is_empty() {
        bail!(
            "{} names no clusterUid: every proxy would be refused",
            arguments.config.display()
        );
    }

    let settings = StorageSettings {
        queued_bytes: arguments.queued_bytes,
        queued_resident_bytes: arguments.queued_memory_bytes,
        session_bytes: arguments.session_bytes,
        ..StorageSettings::new(&config, random_u64())
    };
    let node = match arguments.data_dir {
        None => Node::new(settings)?,
        Some(folder) => Node::open(
            &DiskOptions {
                folder,
                config: config.disk,
                checkpoint_interval: Duration::from_secs(arguments.checkpoint_seconds.into()),
                fresh_uuid: u128::from(random_u64()) << 64 | u128::from(random_u64()),
                entropy: random_u64(),
            },
            settings,
        )?,
    };
    let handle = node.handle();
    let listener = listen(arguments.listen).await?;
    let shutting_down = ShuttingDown::default();
    let health = listen(SocketAddr::new(arguments.listen.ip(), arguments.health_port)).await?;
    let metrics = listen(SocketAddr::new(arguments.listen.ip(), arguments.metrics_port)).await?;
    let (health_address, metrics_address) = (health.local_addr()?, metrics.local_addr()?);
    let probes = NodeHealth::new(handle.clone(), shutting_down.clone());
    let (changes, current) = watch::channel(Arc::new(config));
    // These end with the process.
    tokio::spawn(serve_admin(health, health_routes(probes)));
    let routes = metrics_routes(handle.clone()).merge(lease_routes(handle.clone()));
    tokio::spawn(serve_admin(metrics, routes));
    let admin_address = serve_inspection(arguments.admin_port, &handle).await;
    tokio::spawn(watch_config(
        arguments.config,
        changes,
        Arc::new(ConfigReloads::default()),
    ));
    tokio::spawn(follow_config(current, handle, log_level));

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (pod, listen, version) = (arguments.pod_name, listener.local_addr()?, env!("CARGO_PKG_VERSION"));
    let admin = admin_address.map(tracing::field::display);
    tracing::info!(
        pod, version, %listen, health = %health_address, metrics = %metrics_address, admin, "storage node started"
    );
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

/// Serves looks at the node, on the loopback address: client ids and topics are no matter for everybody who reaches the
/// metrics. A node whose port is taken serves without.
async fn serve_inspection(port: u16, node: &NodeHandle) -> Option<SocketAddr> {
    let bound = async {
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        let address = listener.local_addr()?;
        anyhow::Ok((listener, address))
    };
    match bound.await {
        Ok((listener, address)) => {
            tokio::spawn(serve_admin(listener, inspection_routes(node.looker())));
            Some(address)
        }
        Err(error) => {
            tracing::warn!(
                port,
                error = format!("{error:#}"),
                "freshet admin cannot look at this node"
            );
            None
        }
    }
}

/// Takes up what changes in the configuration.
async fn follow_config(mut current: watch::Receiver<Arc<StorageConfig>>, node: NodeHandle, log_level: LogLevel) {
    let mut known = current.borrow_and_update().clone();
    while current.changed().await.is_ok() {
        let changed = current.borrow_and_update().clone();
        for field in needs_restart(&known, &changed) {
            tracing::warn!(field, "a change of this field is taken up at the next start");
        }
        log_level.set(&changed.log_level);
        node.reload((*changed).clone()).await;
        known = changed;
    }
}

/// Names what a running node cannot take up.
fn needs_restart(current: &StorageConfig, changed: &StorageConfig) -> Vec<&'static str> {
    let fields = [
        ("clusterUid", current.cluster_uid != changed.cluster_uid),
        ("shards", current.shards != changed.shards),
        ("placementRules", current.placement_rules != changed.placement_rules),
    ];
    fields
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(name, _)| name)
        .collect()
}

/// Drawn anew at each start; the standard library keys its own hash tables with the same randomness.
fn random_u64() -> u64 {
    RandomState::new().build_hasher().finish()
}
