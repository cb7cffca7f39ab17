//! The broker in one process: a proxy whose storage is in the process, too.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use freshet_config::{ListenerConfig, ProxyConfig, StorageConfig};
use freshet_process::{ConfigReloads, LogFormat, listen, serve_admin, start_logging};
use freshet_proxy::{BindAddress, Proxy, ProxySettings, raise_file_limit, random_u64, random_u128};
use freshet_storage_contract::{MonotonicMs, Term};
use freshet_storage_core::{StorageCore, StorageSettings};
use freshet_storage_node::{DiskOptions, Looker, NodeDisk, inspection_routes};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::arguments::Standalone;
use crate::manifest;
use crate::storage::StorageInProcess;

/// Links the halves of the process; nothing else can attach.
const CLUSTER_UID: &str = "standalone";
/// What the buffers of clients may take together.
const MEMORY_BUDGET_BYTES: u64 = 512 << 20;
/// How long clients may take to finish what they have in flight when the broker stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What is wrong with the command line, the manifest or the addresses, for people.
pub(crate) fn run(arguments: &Standalone) -> anyhow::Result<()> {
    #[cfg(feature = "planted-faults")]
    {
        if !freshet_storage_node::for_tests::prepare()? {
            return Ok(());
        }
        freshet_process::plant(&[("proxy", freshet_proxy_core::planted::plant_everywhere)])?;
    }
    if let Some(folder) = &arguments.secrets_dir
        && !folder.is_dir()
    {
        bail!("--secrets-dir {}: there is no such folder", folder.display());
    }
    let (proxy_config, storage_config) = configuration(arguments)?;
    let log = start_logging(LogFormat::Text, &proxy_config.log_level)?;
    let (core, disk) = storage(arguments, &storage_config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("admin")
        .enable_all()
        .build()
        .context("no admin runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("no signal handler")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("no signal handler")?;
        let settings = ProxySettings {
            name: "standalone".to_owned(),
            workers: arguments.workers,
            memory_budget_bytes: MEMORY_BUDGET_BYTES,
            file_limit: raise_file_limit(),
            copies_deliveries: false,
            bind_address: BindAddress::One(arguments.listen.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |l| l.ip())),
            health: arguments.metrics,
            metrics: arguments.metrics,
            order: None,
        };
        let names: Vec<_> = proxy_config.listeners.iter().map(|l| l.name.clone()).collect();
        // Nobody changes it: a manifest is read once.
        let (_unchanged, config) = watch::channel(Arc::new(proxy_config));
        let (looker, looks) = Looker::new();
        let storage = Box::new(move || Box::new(StorageInProcess::new(core, disk, looks)) as _);
        let admin = match arguments.admin {
            Some(address) => Some(listen(address).await.context("--admin")?),
            None => None,
        };
        let proxy = Proxy::start(settings, config, Arc::new(ConfigReloads::default()), storage).await?;
        let admin_address = admin.as_ref().map(TcpListener::local_addr).transpose();
        announce(
            &proxy,
            &names,
            arguments.data_dir.as_deref(),
            admin_address.context("--admin")?,
        );
        if let Some(listener) = admin {
            // Ends with the process.
            tokio::spawn(serve_admin(listener, inspection_routes(looker)));
        }
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        proxy.run(Some(&log), stop).await
    })
}

/// The files that the operator would have written, as far as they make sense in one process.
fn configuration(arguments: &Standalone) -> anyhow::Result<(ProxyConfig, StorageConfig)> {
    let (mut proxy, mut storage) = match &arguments.config {
        Some(file) => manifest::read(file)?,
        None => {
            let quiet = ProxyConfig {
                log_level: "warn".to_owned(),
                ..ProxyConfig::default()
            };
            (quiet, StorageConfig::default())
        }
    };
    CLUSTER_UID.clone_into(&mut proxy.cluster_uid);
    CLUSTER_UID.clone_into(&mut storage.cluster_uid);
    proxy.storage_endpoints.clear();
    // No Service has to forget this process, and nobody else takes its clients.
    proxy.drain_linger_ms = 0;
    proxy.drain_timeout_ms = u64::try_from(DRAIN_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
    if let Some(listen) = arguments.listen {
        let first = proxy.listeners.into_iter().next().unwrap_or_default();
        proxy.listeners = vec![ListenerConfig {
            port: listen.port(),
            ..first
        }];
    }
    Ok((proxy, storage))
}

/// The core, and the disk it goes on from; none: it begins with nothing and keeps nothing.
fn storage(arguments: &Standalone, config: &StorageConfig) -> anyhow::Result<(StorageCore, Option<NodeDisk>)> {
    let random = || random_u64().context("no random key");
    let settings = StorageSettings {
        // There is one proxy, and it is here: nobody has to be waited for.
        recovery_hold_ms: 0,
        queued_bytes: arguments.queued_bytes,
        queued_resident_bytes: arguments.queued_memory_bytes,
        session_bytes: arguments.session_bytes,
        ..StorageSettings::new(config, random()?)
    };
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let term_floor = Term(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX));
    let now = MonotonicMs(0);
    let Some(folder) = &arguments.data_dir else {
        let core = StorageCore::new(settings, term_floor, now).context("spec.storage cannot be used")?;
        return Ok((core, None));
    };
    let options = DiskOptions {
        folder: folder.to_owned(),
        config: config.disk,
        checkpoint_interval: Duration::from_secs(arguments.checkpoint_seconds.into()),
        fresh_uuid: random_u128().context("no random name")?,
        entropy: random()?,
    };
    let (core, disk) = NodeDisk::open(&options, settings, term_floor, now).context("--data-dir cannot be used")?;
    Ok((core, Some(disk)))
}

/// Says where the broker listens, on a line of its own per listener, for people and for scripts that wait for it.
fn announce(proxy: &Proxy, names: &[String], folder: Option<&Path>, admin: Option<SocketAddr>) {
    let kept = folder.map_or_else(|| "memory".to_owned(), |folder| folder.display().to_string());
    let mut out = std::io::stdout().lock();
    for address in names.iter().filter_map(|name| proxy.listener_address(name)) {
        // Who closed standard output does not want to know.
        let _ = writeln!(
            out,
            "freshet listens on mqtt://{address} (MQTT 3.1.1 and 5.0, open to everybody who reaches it, kept in {kept})"
        );
    }
    if let Some(address) = proxy.metrics_address() {
        let _ = writeln!(out, "metrics on http://{address}/metrics");
    }
    if let Some(address) = admin {
        let _ = writeln!(out, "freshet admin --url http://{address}");
    }
    let _ = out.flush();
}
