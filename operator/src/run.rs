//! Wiring: client, metrics, the lease, and one controller per watched namespace.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use freshet_operator_api::MqttCluster;
use freshet_operator_core::DefaultImages;
use futures::{FutureExt, StreamExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::controller::{self, applier};
use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch::{Receiver, channel};
use tokio::task::JoinSet;

use crate::args::{RunArgs, VERSION};
use crate::events::Recorder;
use crate::http;
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::moves::Moves;
use crate::reconcile::{Reconciler, on_error, reconcile};
use crate::scaling::Scalings;
use crate::watch::{Cordons, cordoned, nudged, watch};
use crate::write::Writer;

/// How long reconciles that are under way may take after SIGTERM, before the lease is given back over their heads.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Looks after clusters until SIGTERM or SIGINT.
///
/// # Errors
/// When the process cannot start, and when it led and does not any more: it must not go on then, and is started anew.
pub(crate) async fn run(args: RunArgs) -> anyhow::Result<()> {
    let config = client_config(&args).await?;
    let default_namespace = config.default_namespace.clone();
    let client = Client::try_from(config).context("the client could not be made")?;
    let metrics = Metrics::new(VERSION);
    let listener = TcpListener::bind(args.http_listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.http_listen))?;
    tracing::info!(version = VERSION, listen = %args.http_listen, "started");
    let server = tokio::spawn(axum::serve(listener, http::routes(metrics.clone())).into_future());

    let identity = args
        .identity
        .clone()
        .unwrap_or_else(|| format!("process-{}", std::process::id()));
    let lease_namespace = args.lease_namespace.clone().unwrap_or(default_namespace);
    let mut leadership = Leadership::new(client.clone(), &lease_namespace, &args.lease_name, &identity);
    let mut stop = stop_signal()?;

    tokio::select! {
        () = leadership.acquire() => {}
        () = stopped(&mut stop) => {
            // It may have been taken the moment before.
            leadership.release().await;
            return Ok(());
        }
        ended = server => return ended.context("the HTTP server panicked")?.context("the HTTP server ended"),
    }
    metrics.leads(true);
    let mut controllers = start_controllers(&args, &client, &metrics, &identity, &stop);
    let lost = tokio::select! {
        // Controllers end by the same signal: that it came is looked at first.
        biased;
        () = stopped(&mut stop) => None,
        lost = leadership.keep() => Some(lost),
        ended = controllers.join_next() => Some(anyhow::anyhow!("a controller ended: {ended:?}")),
    };
    metrics.leads(false);
    match lost {
        Some(lost) => Err(lost.context("not leading any more")),
        None => {
            tracing::info!("stopping");
            let all_ended = async { while controllers.join_next().await.is_some() {} };
            if tokio::time::timeout(STOP_GRACE, all_ended).await.is_err() {
                tracing::warn!("reconciles were cut short");
                controllers.abort_all();
            }
            leadership.release().await;
            Ok(())
        }
    }
}

async fn client_config(args: &RunArgs) -> anyhow::Result<Config> {
    match &args.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(file, &options)
                .await
                .context("the kubeconfig cannot be used")
        }
        None => Config::infer()
            .await
            .context("found neither a kubeconfig nor a pod's service account"),
    }
}

/// Becomes true with SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, receiver) = channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        sender.send_replace(true);
        sender.closed().await;
    });
    Ok(receiver)
}

async fn stopped(stop: &mut Receiver<bool>) {
    // The sender lives as long as there are receivers.
    let _ = stop.wait_for(|stopped| *stopped).await;
}

/// Does `work` until the process is to stop.
async fn until(mut stop: Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stopped(&mut stop) => {}
        () = work => {}
    }
}

/// One controller for all namespaces, or one for each that is named: then no right in any other is needed.
fn start_controllers(
    args: &RunArgs,
    client: &Client,
    metrics: &Metrics,
    identity: &str,
    stop: &Receiver<bool>,
) -> JoinSet<()> {
    let images = DefaultImages {
        proxy: args.proxy_image.as_str().into(),
        storage: args.storage_image.as_str().into(),
    };
    let writer = Writer::new(client.clone(), metrics.clone(), args.fault_point);
    let recorder = Arc::new(Recorder::new(writer.clone(), identity.to_owned()));
    let namespaces: Vec<Option<String>> = match args.watch_namespaces.as_slice() {
        [] => vec![None],
        named => named.iter().cloned().map(Some).collect(),
    };
    let mut controllers = JoinSet::new();
    let cordons = Cordons::default();
    controllers.spawn(until(stop.clone(), cordons.clone().run(client.clone())));
    for namespace in namespaces {
        let (stores, mut requests) = watch(client, namespace.as_deref(), cordons.clone());
        let stores = Arc::new(stores);
        requests.push(cordoned(Arc::clone(&stores)));
        let moves = Moves::new();
        let (scalings, nudges) = Scalings::new(moves.clone());
        requests.push(nudged(nudges));
        let rounds = until(
            stop.clone(),
            scalings
                .clone()
                .run(Arc::clone(&stores), writer.clone(), metrics.clone()),
        );
        let (scalings_to_save, stores_of_them, saving) = (scalings.clone(), Arc::clone(&stores), writer.clone());
        controllers.spawn(async move {
            rounds.await;
            // Nobody else leads yet: the lease is given back after this.
            scalings_to_save.save_all(&stores_of_them, &saving).await;
        });
        let clusters = stores.clusters.clone();
        let reconciler = Arc::new(Reconciler::new(
            stores,
            scalings,
            moves,
            writer.clone(),
            Arc::clone(&recorder),
            images.clone(),
            metrics.clone(),
        ));
        let mut stop = stop.clone();
        let until_stopped = async move { stopped(&mut stop).await }.boxed();
        let config = controller::Config::default().concurrency(args.concurrency);
        let metrics = metrics.clone();
        let reconciles = applier(
            |cluster: Arc<MqttCluster>, reconciler: Arc<Reconciler>| reconcile(cluster, reconciler).boxed(),
            on_error,
            reconciler,
            clusters,
            requests.take_until(until_stopped),
            config,
        );
        controllers.spawn(async move {
            let mut reconciles = std::pin::pin!(reconciles);
            while let Some(outcome) = reconciles.next().await {
                match outcome {
                    // Logged by the reconciler itself.
                    Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
                    // A cluster that was deleted while a request for it waited.
                    Err(controller::Error::ObjectNotFound(_)) => {}
                    Err(error) => {
                        metrics.watch_broke();
                        tracing::warn!(%error, "a watch broke, it begins anew");
                    }
                }
            }
        });
    }
    controllers
}
