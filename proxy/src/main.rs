//! The proxy's process: arguments, log, signals.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use freshet_config::ProxyConfig;
use freshet_process::{ConfigReloads, LogFormat, read_config, start_logging, watch_config};
use freshet_proxy::arguments::Arguments;
use freshet_proxy::{BindAddress, Proxy, ProxySettings, StorageStreams, raise_file_limit, random_u64};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Its settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the proxy ends");
            eprintln!("freshet-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    #[cfg(feature = "planted-faults")]
    freshet_process::plant(&[("proxy", freshet_proxy_core::planted::plant_everywhere)])?;
    let config: Arc<ProxyConfig> = Arc::new(read_config(&arguments.config)?);
    let log = start_logging(LogFormat::Json, &config.log_level)?;
    let file_limit = raise_file_limit();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        pod = arguments.pod_name,
        namespace = arguments.pod_namespace,
        uid = arguments.pod_uid,
        workers = arguments.workers,
        file_limit,
        "the proxy starts"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("admin")
        .enable_all()
        .build()
        .context("no admin runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("no signal handler")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("no signal handler")?;
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let endpoints = config.storage_endpoints.clone();
        let seed = random_u64().context("no random seed")?;
        let settings = ProxySettings {
            name: arguments.pod_name,
            workers: arguments.workers,
            memory_budget_bytes: arguments.memory_budget_bytes,
            file_limit,
            copies_deliveries: true,
            bind_address: BindAddress::All,
            health: Some(all_addresses(arguments.health_port)),
            metrics: Some(all_addresses(arguments.metrics_port)),
            order: arguments.moves,
        };
        let (changes, current) = watch::channel(config);
        let reloads = Arc::new(ConfigReloads::default());
        tokio::spawn(watch_config(arguments.config, changes, Arc::clone(&reloads)));
        let storage = Box::new(move || Box::new(StorageStreams::new(endpoints, seed)) as _);
        let proxy = Proxy::start(settings, current, reloads, storage).await?;
        proxy.run(Some(&log), stop).await
    })
}

fn all_addresses(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
}
