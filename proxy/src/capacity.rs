//! How many connections there are and may be: per listener, per worker and in the process.
//!
//! Used by the acceptors, which deal connections, and by the workers, which end them. The process's bound is its file
//! limit: `maxConnections` above it could not be kept, so it is lowered, with a metric and a log line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use freshet_proxy_core::worker::ListenerIndex;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors that a process needs beside its connections: listeners, epoll sets, streams, files, sockets that linger.
const DESCRIPTORS_KEPT_BACK: u64 = 2_048;
/// A limit of the process's files that says "none".
const NO_FILE_LIMIT: u64 = 1 << 30;

/// Raises the soft limit of open files to the hard one and returns what holds now.
pub fn raise_file_limit() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What cannot be raised is what the connection limit is computed from.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(NO_FILE_LIMIT)
}

/// Connections of the process.
#[derive(Debug)]
pub(crate) struct Capacity {
    limit: u32,
    open: AtomicU32,
}

impl Capacity {
    /// Room for what `file_limit` descriptors allow.
    pub(crate) fn of_file_limit(file_limit: u64) -> Self {
        // A small limit is shared evenly rather than leaving nothing.
        let kept_back = DESCRIPTORS_KEPT_BACK.min(file_limit / 2);
        Self {
            limit: u32::try_from(file_limit - kept_back).unwrap_or(u32::MAX),
            open: AtomicU32::new(0),
        }
    }

    /// Connections that the process may have.
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// Connections that the process has.
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }
}

/// What is counted of a listener.
#[derive(Debug)]
pub(crate) struct ListenerCount {
    /// Its number.
    pub index: ListenerIndex,
    /// Its name.
    pub name: String,
    capacity: Arc<Capacity>,
    max_connections: AtomicU32,
    open: AtomicU32,
    refused: AtomicU64,
    is_removed: AtomicBool,
}

impl ListenerCount {
    /// A listener without connections.
    pub(crate) fn new(index: ListenerIndex, name: String, max_connections: u32, capacity: Arc<Capacity>) -> Self {
        Self {
            index,
            name,
            capacity,
            max_connections: AtomicU32::new(max_connections),
            open: AtomicU32::new(0),
            refused: AtomicU64::new(0),
            is_removed: AtomicBool::new(false),
        }
    }

    /// Changes the bound for new connections.
    pub(crate) fn set_max_connections(&self, max_connections: u32) {
        self.max_connections.store(max_connections, Ordering::Relaxed);
    }

    /// The bound that holds: the configured one, or the process's where that is lower.
    pub(crate) fn effective_max(&self) -> u32 {
        self.configured_max().min(self.capacity.limit)
    }

    /// The configured bound.
    pub(crate) fn configured_max(&self) -> u32 {
        self.max_connections.load(Ordering::Relaxed)
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections that were closed at once because a bound was reached.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The listener takes no more connections; what was dealt before and not yet taken over is closed.
    pub(crate) fn remove(&self) {
        self.is_removed.store(true, Ordering::Relaxed);
    }

    /// Whether [`Self::remove`] was called.
    pub(crate) fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Relaxed)
    }

    /// Counts a connection in, for a worker that has `worker_open`; none: a bound is reached, and the connection is
    /// counted as refused. Only one task deals the connections of a listener, so its bound is exact; the process's may
    /// be passed by as many as there are listeners.
    pub(crate) fn admit(self: &Arc<Self>, worker_open: &Arc<AtomicU32>) -> Option<ConnectionPermit> {
        if self.open() >= self.configured_max() || self.capacity.open() >= self.capacity.limit {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        self.capacity.open.fetch_add(1, Ordering::Relaxed);
        worker_open.fetch_add(1, Ordering::Relaxed);
        Some(ConnectionPermit {
            listener: Arc::clone(self),
            worker_open: Arc::clone(worker_open),
        })
    }
}

/// A connection that is counted. Dropping it counts it out.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    listener: Arc<ListenerCount>,
    worker_open: Arc<AtomicU32>,
}

impl ConnectionPermit {
    /// Where the connection came in.
    pub(crate) fn listener(&self) -> &ListenerCount {
        &self.listener
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.listener.open.fetch_sub(1, Ordering::Relaxed);
        self.listener.capacity.open.fetch_sub(1, Ordering::Relaxed);
        self.worker_open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(max_connections: u32, capacity: &Arc<Capacity>) -> Arc<ListenerCount> {
        let count = ListenerCount::new(
            ListenerIndex(0),
            "mqtt".to_owned(),
            max_connections,
            Arc::clone(capacity),
        );
        Arc::new(count)
    }

    #[test]
    fn the_file_limit_bounds_what_a_listener_may_have() {
        let capacity = Arc::new(Capacity::of_file_limit(10_000));
        assert_eq!(capacity.limit(), 10_000 - 2_048);
        assert_eq!(listener(100_000, &capacity).effective_max(), 7_952);
        assert_eq!(listener(100, &capacity).effective_max(), 100);
        assert_eq!(Capacity::of_file_limit(1_024).limit(), 512);
        assert_eq!(Capacity::of_file_limit(u64::MAX).limit(), u32::MAX);
    }

    #[test]
    fn over_the_bound_of_the_listener_or_the_process_nothing_is_admitted_until_a_connection_ends() {
        let capacity = Arc::new(Capacity::of_file_limit(4));
        let (one, two) = (listener(1, &capacity), listener(10, &capacity));
        let worker = Arc::new(AtomicU32::new(0));
        let first = one.admit(&worker);
        assert!(first.is_some());
        assert!(one.admit(&worker).is_none());
        let second = two.admit(&worker);
        assert!(second.is_some());
        assert!(two.admit(&worker).is_none());
        assert_eq!(
            (one.refused(), two.refused(), worker.load(Ordering::Relaxed)),
            (1, 1, 2)
        );
        drop(first);
        assert!(two.admit(&worker).is_some());
    }

    #[test]
    fn the_soft_limit_of_files_is_raised_to_the_hard_one() {
        let raised = raise_file_limit();
        assert_eq!(
            Some(raised),
            getrlimit(Resource::Nofile).maximum.or(Some(NO_FILE_LIMIT))
        );
    }
}
