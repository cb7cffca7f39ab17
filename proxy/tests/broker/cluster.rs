//! Storage and proxies of one cluster within the test's process, on real sockets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use freshet_config::{ListenerConfig, ProxyConfig, StorageConfig};
use freshet_process::ConfigReloads;
use freshet_proxy::{BindAddress, Proxy, ProxySettings, StorageStreams};
use freshet_storage_core::StorageSettings;
use freshet_storage_node::{Node, NodeHandle};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::client::DEADLINE;
use crate::http::{await_condition, metric};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// A storage node that can be killed and started again on its port.
pub(crate) struct Storage {
    pub(crate) address: SocketAddr,
    config: StorageConfig,
    node: Option<NodeHandle>,
    runtime: Option<Runtime>,
}

impl Storage {
    pub(crate) fn start() -> Self {
        Self::start_with(StorageConfig::default())
    }

    /// A node with a configuration of its own, whatever cluster that names.
    pub(crate) fn start_with(config: StorageConfig) -> Self {
        let mut storage = Self {
            address: SocketAddr::new(LOCALHOST, 0),
            config: StorageConfig {
                cluster_uid: "test".to_owned(),
                ..config
            },
            node: None,
            runtime: None,
        };
        storage.start_again();
        storage
    }

    /// Ends everything of the node at once, as a kill does: streams are cut, nothing is said.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Proxies whose lease holds.
    pub(crate) fn incarnations(&self) -> u64 {
        let (node, runtime) = (self.node.as_ref().unwrap(), self.runtime.as_ref().unwrap());
        runtime.block_on(node.stats()).expect("the node answers").incarnations
    }

    /// Starts a node without memory where the last one was.
    pub(crate) fn start_again(&mut self) {
        let runtime = runtime();
        let listener = runtime.block_on(async {
            let until = tokio::time::Instant::now() + DEADLINE;
            loop {
                match TcpListener::bind(self.address).await {
                    Ok(listener) => break listener,
                    // The killed one's runtime is still closing its sockets.
                    Err(error) => assert!(tokio::time::Instant::now() < until, "{error}"),
                }
                tokio::task::yield_now().await;
            }
        });
        self.address = listener.local_addr().unwrap();
        let node = {
            let _inside = runtime.enter();
            Node::new(StorageSettings::new(&self.config, 7)).unwrap()
        };
        self.node = Some(node.handle());
        runtime.spawn(async move { node.serve(listener, std::future::pending()).await.unwrap() });
        self.runtime = Some(runtime);
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the proxies of tests are told, unless a test says otherwise.
pub(crate) fn proxy_config(storage: &Storage) -> ProxyConfig {
    ProxyConfig {
        cluster_uid: "test".to_owned(),
        storage_endpoints: vec![storage.address.to_string()],
        listeners: vec![listener("mqtt", 0)],
        drain_linger_ms: 0,
        drain_timeout_ms: 10_000,
        ..ProxyConfig::default()
    }
}

pub(crate) fn listener(name: &str, port: u16) -> ListenerConfig {
    ListenerConfig {
        name: name.to_owned(),
        port,
        ..ListenerConfig::default()
    }
}

/// A file of its own for each proxy.
fn order_file() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("freshet-order-{}-{number}", std::process::id()))
}

/// A proxy of two workers.
pub(crate) struct TestProxy {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) config: watch::Sender<Arc<ProxyConfig>>,
    /// What the kubelet would show it of the annotation.
    order: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<anyhow::Result<()>>>,
    runtime: Runtime,
}

impl TestProxy {
    /// A proxy that has reached storage.
    pub(crate) fn start(name: &str, config: ProxyConfig) -> Self {
        let proxy = Self::start_alone(name, config);
        await_condition("storage is attached", || {
            proxy.metric("freshet_proxy_storage_attached") == 1.0
        });
        proxy
    }

    /// A proxy that may be without storage.
    pub(crate) fn start_alone(name: &str, config: ProxyConfig) -> Self {
        let runtime = runtime();
        let order = order_file();
        let endpoints = config.storage_endpoints.clone();
        let (changes, current) = watch::channel(Arc::new(config));
        let any = Some(SocketAddr::new(LOCALHOST, 0));
        let settings = ProxySettings {
            name: name.to_owned(),
            workers: 2,
            memory_budget_bytes: 64 << 20,
            file_limit: freshet_proxy::raise_file_limit(),
            copies_deliveries: true,
            bind_address: BindAddress::One(LOCALHOST),
            health: any,
            metrics: any,
            order: Some(order.clone()),
        };
        let storage = Box::new(move || Box::new(StorageStreams::new(endpoints, 1)) as _);
        let proxy = runtime
            .block_on(Proxy::start(
                settings,
                current,
                Arc::new(ConfigReloads::default()),
                storage,
            ))
            .unwrap();
        let address = proxy.listener_address("mqtt").unwrap();
        let admin = proxy.metrics_address().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = runtime.spawn(proxy.run(None, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            admin,
            config: changes,
            order,
            stop: Some(stop),
            task: Some(task),
            runtime,
        }
    }

    /// Value of a metric of this proxy.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        metric(self.admin, name)
    }

    /// Connections that ended for this reason.
    pub(crate) fn disconnects(&self, reason: &str) -> f64 {
        self.metric(&format!("freshet_proxy_disconnects_total{{reason=\"{reason}\"}}"))
    }

    /// Gives the proxy an order about its clients; an empty text withdraws it.
    pub(crate) fn order(&self, text: &str) {
        std::fs::write(&self.order, text).unwrap();
    }

    /// Tells the proxy to stop; does not wait.
    pub(crate) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits until the proxy has ended by itself.
    pub(crate) fn ended(&mut self, patience: Duration) {
        let task = self.task.take().expect("waited for once");
        let ended = self
            .runtime
            .block_on(async { tokio::time::timeout(patience, task).await });
        ended.expect("the proxy did not end in time").unwrap().unwrap();
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_file(&self.order);
        if let Some(task) = self.task.take() {
            // A test that has failed already says why; this one only has to end.
            let _ = self
                .runtime
                .block_on(async { tokio::time::timeout(DEADLINE, task).await });
        }
    }
}
