//! A proxy as a whole: its workers' threads, its listeners, its admin servers, started together and watched.
//!
//! Made by the binary and by `freshet standalone` on the admin runtime. Leaves out how it hands over its clients
//! (`crate::drain`).

use std::future::Future;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use freshet_config::ProxyConfig;
use freshet_process::{ConfigReloads, LogLevel, health_routes, listen, metrics_routes, serve_admin};
use freshet_proxy_core::exchange::WorkerId;
use freshet_proxy_core::link::{Link, LinkSettings, MAX_WORKERS};
use freshet_proxy_core::worker::{Worker, WorkerSettings, strategy_of};
use freshet_storage_contract::{ClusterUid, IncarnationId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::capacity::Capacity;
use crate::clock::Clock;
use crate::control::{Control, WorkerDoor};
use crate::driver::{LinkElsewhere, LinkHere, OtherWorker, Seat, WorkerParts, run_worker};
use crate::health::Health;
use crate::listeners::{BindAddress, ListenerNames, Listeners};
use crate::load::Loads;
use crate::mailbox::{Sleeper, mailbox};
use crate::memory::MemoryBounds;
use crate::metrics::Metrics;
use crate::orders::{CurrentOrder, watch_order};
use crate::random::{random_u64, random_u128};
use crate::storage_link::StorageLinkMaker;

/// Events that wait between a worker and the link; more stay with who sends. Their bytes are bounded by what a worker
/// may have outstanding, and by the credit that storage is given.
const MAILBOX_EVENTS: usize = 64 << 10;
/// Pause before a listener that could not be opened is tried again.
const LISTENER_RETRY: Duration = Duration::from_secs(1);

/// What a proxy is made with and keeps for its life.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    /// Pod name.
    pub name: String,
    /// Threads that own connections, 1 to 64.
    pub workers: u16,
    /// What the buffers of clients and storage may take together, in bytes.
    pub memory_budget_bytes: u64,
    /// Descriptors that the process may have; bounds its connections.
    pub file_limit: u64,
    /// Whether storage's messages are parts of larger buffers, as those of streams are: a message that waits for a
    /// client is then copied, or it would keep a whole frame in memory.
    pub copies_deliveries: bool,
    /// Where listeners are bound.
    pub bind_address: BindAddress,
    /// Where `/livez` and `/readyz` are served, if anywhere.
    pub health: Option<SocketAddr>,
    /// Where `/metrics` and `/loadz` are served, if anywhere. The same address: all are served there.
    pub metrics: Option<SocketAddr>,
    /// The file with the order to give clients away, if there is one (`freshet_config::MoveOrder`).
    pub order: Option<PathBuf>,
}

/// A proxy that serves.
#[derive(Debug)]
pub struct Proxy {
    pub(crate) clock: Clock,
    pub(crate) workers: Arc<[WorkerDoor]>,
    pub(crate) listeners: Listeners,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) config: watch::Receiver<Arc<ProxyConfig>>,
    pub(crate) order: CurrentOrder,
    /// Ends of workers' threads, which are to live as long as the proxy.
    pub(crate) ended: mpsc::Receiver<anyhow::Error>,
    metrics_address: Option<SocketAddr>,
    health_address: Option<SocketAddr>,
    /// Listeners that could not be opened.
    has_failed_listeners: bool,
    /// Admin servers and what asks regularly; they end with the proxy.
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Starts the workers, the admin servers and the listeners. `storage` is made on the first worker's thread.
    ///
    /// # Errors
    /// When a setting is out of range, an address cannot be bound or the process cannot have its threads.
    pub async fn start(
        settings: ProxySettings,
        mut config: watch::Receiver<Arc<ProxyConfig>>,
        reloads: Arc<ConfigReloads>,
        storage: StorageLinkMaker,
    ) -> anyhow::Result<Self> {
        if settings.workers == 0 || settings.workers > MAX_WORKERS {
            bail!("workers: {} is not between 1 and {MAX_WORKERS}", settings.workers);
        }
        let clock = Clock::start();
        let health = Health::default();
        let names = ListenerNames::default();
        let capacity = Arc::new(Capacity::of_file_limit(settings.file_limit));
        let first = config.borrow_and_update().clone();

        let sleepers = (0..settings.workers)
            .map(|_| Sleeper::new().map(Arc::new))
            .collect::<Result<Vec<_>, _>>()
            .context("no descriptor for a worker")?;
        let (doors, controls): (Vec<_>, Vec<_>) = sleepers
            .iter()
            .map(|sleeper| WorkerDoor::new(Arc::clone(sleeper)))
            .unzip();
        let workers: Arc<[WorkerDoor]> = doors.into();

        let (ending, ended) = mpsc::channel(usize::from(settings.workers));
        let seats = seats(&settings, &first, &sleepers, &health, storage)?;
        let plan = WorkerPlan::new(&settings, &first, &capacity);
        for (((id, seat), sleeper), control) in (0..).map(WorkerId).zip(seats).zip(sleepers).zip(controls) {
            let worker = plan.worker(id)?;
            let names = names.clone();
            let parts = move || {
                Ok(WorkerParts {
                    id,
                    worker,
                    seat: seat(),
                    sleeper,
                    control,
                    listener_names: names,
                })
            };
            start_thread(id, ending.clone(), move || run_worker(clock, parts))?;
        }

        let metrics = Metrics::new(Arc::clone(&workers), Arc::clone(&capacity), reloads, health.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(metrics.clone().ask_regularly());
        let incarnation = random_u64().context("no random incarnation")?;
        let takes_orders = settings.order.is_some();
        let (orders, order) = watch::channel(None);
        if let Some(path) = settings.order {
            tasks.spawn(watch_order(path, orders));
        }
        let loads = Loads::new(metrics.clone(), health.clone(), clock, incarnation, takes_orders);
        let health_routes = health_routes(health.clone());
        let metrics_routes = metrics_routes(metrics.clone()).merge(loads.routes());
        let (health_address, metrics_address) = if settings.health == settings.metrics {
            let both = serve(&mut tasks, settings.health, health_routes.merge(metrics_routes)).await?;
            (both, both)
        } else {
            (
                serve(&mut tasks, settings.health, health_routes).await?,
                serve(&mut tasks, settings.metrics, metrics_routes).await?,
            )
        };

        let mut listeners = Listeners::new(settings.bind_address, capacity, names, Arc::clone(&workers));
        if let Some((name, error)) = listeners.apply(&first.listeners).await.into_iter().next() {
            let port = first.listeners.iter().find(|l| l.name == name).map_or(0, |l| l.port);
            return Err(anyhow!(error).context(format!("listener {name} cannot be opened on port {port}")));
        }
        metrics.set_listeners(listeners.counts());
        tracing::warn!("listeners are open: everybody who reaches them may publish and subscribe");
        Ok(Self {
            clock,
            workers,
            listeners,
            health,
            metrics,
            config,
            order,
            ended,
            metrics_address,
            health_address,
            has_failed_listeners: false,
            _tasks: tasks,
        })
    }

    /// Where a listener is bound.
    #[must_use]
    pub fn listener_address(&self, name: &str) -> Option<SocketAddr> {
        self.listeners.address(name)
    }

    /// Where `/metrics` and `/loadz` are served.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Where `/livez` and `/readyz` are served.
    #[must_use]
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health_address
    }

    /// How the process is.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Serves until `stop` is ready; then hands over the clients and ends. Takes up changes of the configuration.
    ///
    /// # Errors
    /// When a worker's thread has ended, whose clients are lost with it.
    pub async fn run(mut self, log: Option<&LogLevel>, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut stop = std::pin::pin!(stop);
        loop {
            let retry = self.has_failed_listeners;
            tokio::select! {
                () = &mut stop => {
                    self.hand_over().await;
                    return Ok(());
                }
                Some(error) = self.ended.recv() => {
                    self.health.set_ended();
                    return Err(error);
                }
                // A configuration that nobody can change any more stays.
                Ok(()) = self.config.changed() => self.take_up(log).await,
                Ok(()) = self.order.changed() => self.take_order().await,
                () = tokio::time::sleep(LISTENER_RETRY), if retry => self.open_listeners().await,
            }
        }
    }

    async fn take_up(&mut self, log: Option<&LogLevel>) {
        let config = self.config.borrow_and_update().clone();
        if let Some(log) = log {
            log.set(&config.log_level);
        }
        for worker in self.workers.iter() {
            worker.tell(Control::Reload(Arc::clone(&config))).await;
        }
        self.open_listeners().await;
    }

    async fn open_listeners(&mut self) {
        let config = self.config.borrow().clone();
        let failed = self.listeners.apply(&config.listeners).await;
        // Said once, not with every attempt.
        if !self.has_failed_listeners {
            for (listener, error) in &failed {
                tracing::error!(listener, %error, "a listener cannot be opened: it is tried again");
            }
        }
        self.has_failed_listeners = !failed.is_empty();
        self.metrics.set_listeners(self.listeners.counts());
    }
}

type SeatMaker = Box<dyn FnOnce() -> Seat + Send>;

/// How each worker finds the link: the first one has it.
fn seats(
    settings: &ProxySettings,
    config: &ProxyConfig,
    sleepers: &[Arc<Sleeper>],
    health: &Health,
    storage: StorageLinkMaker,
) -> anyhow::Result<Vec<SeatMaker>> {
    let workers = settings.workers;
    let link_settings = LinkSettings {
        cluster_uid: ClusterUid(config.cluster_uid.clone()),
        proxy_name: settings.name.clone(),
        workers,
        delivery_credit_bytes: MemoryBounds::divide(settings.memory_budget_bytes, workers).delivery_credit_bytes,
        shared_strategy: strategy_of(config.mqtt.shared_strategy),
        random_keys: random_keys()?,
    };
    let incarnation = IncarnationId(random_u128().context("no random incarnation")?);
    let mut others = Vec::new();
    let mut elsewhere: Vec<SeatMaker> = Vec::new();
    let mut threads = (0..).map(WorkerId).zip(sleepers);
    let Some((_, with_link)) = threads.next() else {
        return Ok(Vec::new());
    };
    for (id, sleeper) in threads {
        let (to_link, from_worker) = mailbox(MAILBOX_EVENTS, Arc::clone(sleeper), Arc::clone(with_link));
        let (to_worker, from_link) = mailbox(MAILBOX_EVENTS, Arc::clone(with_link), Arc::clone(sleeper));
        others.push(OtherWorker {
            id,
            from_worker,
            to_worker,
        });
        elsewhere.push(Box::new(move || {
            Seat::Elsewhere(LinkElsewhere {
                to_link,
                from_link,
                unposted: Vec::new(),
            })
        }));
    }
    let health = health.clone();
    let here: SeatMaker = Box::new(move || {
        let link = Link::new(link_settings, incarnation);
        Seat::Here(Box::new(LinkHere::new(link, storage(), workers, others, health)))
    });
    Ok([here].into_iter().chain(elsewhere).collect())
}

/// What all workers have in common.
struct WorkerPlan {
    proxy_name: String,
    max_connections: u32,
    copies_deliveries: bool,
    bounds: MemoryBounds,
    config: Arc<ProxyConfig>,
}

impl WorkerPlan {
    fn new(settings: &ProxySettings, config: &Arc<ProxyConfig>, capacity: &Capacity) -> Self {
        Self {
            proxy_name: settings.name.clone(),
            max_connections: capacity.limit(),
            copies_deliveries: settings.copies_deliveries,
            bounds: MemoryBounds::divide(settings.memory_budget_bytes, settings.workers),
            config: Arc::clone(config),
        }
    }

    fn worker(&self, id: WorkerId) -> anyhow::Result<Worker> {
        let settings = WorkerSettings {
            id,
            proxy_name: self.proxy_name.clone(),
            max_connections: self.max_connections,
            outstanding_publish_bytes: self.bounds.outstanding_publish_bytes,
            outbound_bytes: self.bounds.outbound_bytes,
            input_bytes: self.bounds.input_bytes,
            copies_deliveries: self.copies_deliveries,
            random_keys: random_keys()?,
        };
        Ok(Worker::new(settings, Arc::clone(&self.config)))
    }
}

fn random_keys() -> anyhow::Result<(u64, u64)> {
    let key = || random_u64().context("no random key");
    Ok((key()?, key()?))
}

fn start_thread(
    id: WorkerId,
    ending: mpsc::Sender<anyhow::Error>,
    body: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<()> {
    let name = format!("worker-{}", id.0);
    let run = move || {
        let error = match catch_unwind(AssertUnwindSafe(body)) {
            // Told to stop.
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => anyhow!("it has panicked"),
        };
        // There is room for each worker's end; nobody listens any more only when the proxy has ended.
        let _ = ending.try_send(error.context(format!("worker {} has ended", id.0)));
    };
    std::thread::Builder::new()
        .name(name)
        .spawn(run)
        .context("no thread for a worker")?;
    Ok(())
}

/// Serves `routes` at `address`, if there is one, and returns where.
async fn serve(
    tasks: &mut JoinSet<()>,
    address: Option<SocketAddr>,
    routes: axum::Router,
) -> anyhow::Result<Option<SocketAddr>> {
    let Some(address) = address else { return Ok(None) };
    let listener = listen(address).await?;
    let bound = listener.local_addr().context("no address of a listener")?;
    tasks.spawn(serve_admin(listener, routes));
    Ok(Some(bound))
}
