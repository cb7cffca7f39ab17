//! A node on a port of the system's choice.

use std::{net::SocketAddr, time::Duration};

use freshet_config::StorageConfig;
use freshet_storage_core::StorageSettings;
use freshet_storage_node::{Node, NodeError, NodeHandle};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// Anything that is waited for comes within this time or not at all.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The cluster of the recorded frames.
pub(crate) const CLUSTER_UID: &str = "5e0a1b1c-7a51-4f43-a35d-0f9d8c7d1a11";

/// A node that serves.
pub(crate) struct TestNode {
    pub(crate) address: SocketAddr,
    pub(crate) handle: NodeHandle,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), NodeError>>,
}

impl TestNode {
    /// A node of [`CLUSTER_UID`] that routes at once.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Like [`Self::start`], with other settings.
    pub(crate) async fn start_with(change: impl FnOnce(&mut StorageSettings)) -> Self {
        let config = StorageConfig {
            cluster_uid: CLUSTER_UID.to_owned(),
            ..StorageConfig::default()
        };
        let mut settings = StorageSettings::new(&config, 1);
        settings.recovery_hold_ms = 0;
        change(&mut settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let node = Node::new(settings).unwrap();
        let handle = node.handle();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(node.serve(listener, async move {
            let _ = stopped.await;
        }));
        Self {
            address,
            handle,
            stop,
            serving,
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops the node in order and returns how that went.
    pub(crate) async fn stop(self) -> Result<(), NodeError> {
        drop(self.stop);
        within(self.serving).await.unwrap()
    }

    /// Waits until a figure of the core is as wanted.
    pub(crate) async fn wait_for(&self, what: &str, wanted: impl Fn(&freshet_storage_core::StorageStats) -> bool) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let stats = self.handle.stats().await.unwrap();
            if wanted(&stats) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "never: {what}; {stats:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Waits, but not for ever.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("it happens in time")
}
