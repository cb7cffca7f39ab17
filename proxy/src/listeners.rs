//! The proxy's listeners: opened and closed as the configuration says, live.
//!
//! Owned by the proxy's main task on the admin runtime. Each listener has a task that accepts ([`acceptor`]). Leaves
//! out what is spoken on a connection.

mod acceptor;
mod socket;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use freshet_config::ListenerConfig;
use freshet_proxy_core::worker::ListenerIndex;
use tokio::task::JoinHandle;

use crate::capacity::{Capacity, ListenerCount};
use crate::control::{Control, WorkerDoor};

/// Names of listeners by index, for log lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListenerNames(Arc<Mutex<Vec<String>>>);

impl ListenerNames {
    /// Name of a listener that has or had this index.
    pub(crate) fn get(&self, index: u16) -> String {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(usize::from(index)).cloned().unwrap_or_default()
    }

    /// Gives a listener its index; none: there have been 65,536 within the life of the process.
    fn add(&self, name: &str) -> Option<ListenerIndex> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = u16::try_from(names.len()).ok()?;
        names.push(name.to_owned());
        Some(ListenerIndex(index))
    }
}

/// Where listeners are bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindAddress {
    /// All addresses of both families, or of IPv4 where there is no IPv6.
    All,
    /// One address.
    One(IpAddr),
}

/// All listeners of a proxy.
#[derive(Debug)]
pub(crate) struct Listeners {
    bind_address: BindAddress,
    capacity: Arc<Capacity>,
    names: ListenerNames,
    workers: Arc<[WorkerDoor]>,
    open: Vec<Listener>,
    /// Of listeners that have gone: their counters stay in the metrics.
    gone: Vec<Arc<ListenerCount>>,
}

#[derive(Debug)]
struct Listener {
    config: ListenerConfig,
    count: Arc<ListenerCount>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Listeners {
    pub(crate) fn new(
        bind_address: BindAddress,
        capacity: Arc<Capacity>,
        names: ListenerNames,
        workers: Arc<[WorkerDoor]>,
    ) -> Self {
        Self {
            bind_address,
            capacity,
            names,
            workers,
            open: Vec::new(),
            gone: Vec::new(),
        }
    }

    /// Opens what `wanted` names and is not open, closes what it no longer names, with its connections. Returns what
    /// could not be opened, and why; to be tried again.
    pub(crate) async fn apply(&mut self, wanted: &[ListenerConfig]) -> Vec<(String, std::io::Error)> {
        let is_same =
            |a: &ListenerConfig, b: &ListenerConfig| (&a.name, a.protocol, a.port) == (&b.name, b.protocol, b.port);
        let (kept, removed) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|open| wanted.iter().any(|w| is_same(w, &open.config)));
        self.open = kept;
        for listener in removed {
            self.close(listener, true).await;
        }
        let mut failed = Vec::new();
        for config in wanted {
            match self.open.iter_mut().find(|open| is_same(config, &open.config)) {
                Some(open) => {
                    open.count.set_max_connections(config.max_connections);
                    open.config = config.clone();
                }
                None => {
                    if let Err(error) = self.open(config) {
                        failed.push((config.name.clone(), error));
                    }
                }
            }
        }
        failed
    }

    /// Closes all listeners; their connections stay.
    pub(crate) async fn stop_accepting(&mut self) {
        for listener in std::mem::take(&mut self.open) {
            self.close(listener, false).await;
        }
    }

    /// Where a listener is bound.
    pub(crate) fn address(&self, name: &str) -> Option<SocketAddr> {
        self.open
            .iter()
            .find(|open| open.config.name == name)
            .map(|open| open.address)
    }

    /// Counts of all listeners that are or were open, in order of their opening.
    pub(crate) fn counts(&self) -> Vec<Arc<ListenerCount>> {
        let open = self.open.iter().map(|listener| &listener.count);
        self.gone.iter().chain(open).cloned().collect()
    }

    fn open(&mut self, config: &ListenerConfig) -> std::io::Result<()> {
        let (descriptor, address) = socket::listen(self.bind_address, config.port)?;
        let readiness = crate::driver::watch(descriptor)?;
        let index = self
            .names
            .add(&config.name)
            .ok_or_else(|| std::io::Error::other("a process has at most 65,536 listeners in its life"))?;
        let count = Arc::new(ListenerCount::new(
            index,
            config.name.clone(),
            config.max_connections,
            Arc::clone(&self.capacity),
        ));
        if count.effective_max() < config.max_connections {
            tracing::warn!(
                listener = config.name,
                max_connections = config.max_connections,
                effective = count.effective_max(),
                "maxConnections is above the process's limit of open files: it is lowered"
            );
        }
        let task = tokio::spawn(acceptor::accept_connections(
            readiness,
            Arc::clone(&count),
            Arc::clone(&self.workers),
        ));
        tracing::info!(listener = config.name, %address, "listener is open");
        self.open.push(Listener {
            config: config.clone(),
            count,
            address,
            task,
        });
        Ok(())
    }

    async fn close(&mut self, listener: Listener, with_connections: bool) {
        let Listener {
            config, count, task, ..
        } = listener;
        task.abort();
        // Only when the task has ended is the port free for another listener.
        let _ = task.await;
        tracing::info!(listener = config.name, "listener is closed");
        if with_connections {
            count.remove();
            for worker in self.workers.iter() {
                worker.tell(Control::CloseListener(count.index)).await;
            }
        }
        self.gone.push(count);
    }
}
