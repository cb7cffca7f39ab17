//! What a broker holds when nobody is there.

use std::fs;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::http::get;

/// Filters of sessions that were never confirmed stay for a minute.
const DEADLINE: Duration = Duration::from_secs(180);
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Memory at rest may grow by so much: what the allocator keeps differs from moment to moment.
const MOST_GROWTH_PERCENT: u64 = 10;

/// A broker at rest.
#[derive(Debug)]
pub(crate) struct Rest {
    resident_kib: u64,
    descriptors: usize,
    threads: u64,
}

/// What must be gone before a broker is at rest.
const GOES_WITH_CLIENTS: [&str; 13] = [
    "freshet_proxy_connections",
    "freshet_proxy_clients",
    "freshet_proxy_subscriptions",
    "freshet_proxy_filters",
    "freshet_proxy_publishes_outstanding",
    "freshet_proxy_outbound_bytes",
    "freshet_proxy_input_bytes",
    "freshet_proxy_lingering_sockets",
    "freshet_storage_sessions",
    "freshet_storage_stored_sessions",
    "freshet_storage_durable_filters",
    "freshet_storage_queued_messages",
    "freshet_storage_wills_waiting",
];

impl Rest {
    /// Waits until everything has gone that goes with clients, and looks at the rest.
    pub(crate) fn of(broker: &Broker) -> Self {
        let until = Instant::now() + DEADLINE;
        let pid = broker.pid();
        // Nobody sends: a pause between two looks.
        let (_sender, pause) = mpsc::channel::<()>();
        loop {
            let metrics = get(broker.admin, "/metrics").1;
            let left = GOES_WITH_CLIENTS.map(|name| (name, sum(&metrics, name)));
            // The last is that of the look itself, for a moment.
            let sockets = sockets_beside_listeners(pid);
            if left.iter().all(|(_, sum)| *sum == Some(0.0)) && sockets.is_empty() {
                break;
            }
            assert!(
                Instant::now() < until,
                "left when all clients have gone: {left:?}, sockets {sockets:?}"
            );
            let _ = pause.recv_timeout(BETWEEN_LOOKS);
        }
        Self {
            resident_kib: status(pid, "VmRSS:"),
            descriptors: descriptors(pid),
            threads: status(pid, "Threads:"),
        }
    }

    /// Compares two times of rest.
    pub(crate) fn is_as(&self, before: &Self) {
        assert_eq!(self.descriptors, before.descriptors, "file descriptors");
        assert_eq!(self.threads, before.threads, "threads");
        let most = before.resident_kib * (100 + MOST_GROWTH_PERCENT) / 100;
        assert!(
            self.resident_kib <= most,
            "{} KiB of memory, after {} KiB before the noise",
            self.resident_kib,
            before.resident_kib
        );
    }
}

/// Sum of all series of a metric; none: there is no such metric.
fn sum(metrics: &str, name: &str) -> Option<f64> {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
        rest.rsplit_once(' ')?.1.parse::<f64>().ok()
    });
    values.reduce(|a, b| a + b)
}

fn status(pid: u32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .expect("a field of the status");
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// State of a listening socket in the kernel's table.
const LISTEN: &str = "0A";

/// What a process holds of sockets that neither listen nor join its own threads.
fn sockets_beside_listeners(pid: u32) -> Vec<String> {
    let table = |name: &str| fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap();
    // Columns of `proc_net_tcp(5)` and of the table of Unix sockets.
    let listens = [table("tcp"), table("tcp6")].concat();
    let listens = listens.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listens = listens.filter(|fields| fields.get(3) == Some(&LISTEN));
    let mut own: Vec<String> = listens
        .filter_map(|fields| Some((*fields.get(9)?).to_owned()))
        .collect();
    let within = table("unix");
    own.extend(
        within
            .lines()
            .filter_map(|line| Some(line.split_whitespace().nth(6)?.to_owned())),
    );

    // A descriptor may be closed between the two looks at it: it is not held then.
    let held = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let held = held.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let names = held.map(|target| target.to_string_lossy().into_owned());
    let inodes = names.filter_map(|name| Some(name.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()));
    inodes.filter(|inode| !own.contains(inode)).collect()
}
