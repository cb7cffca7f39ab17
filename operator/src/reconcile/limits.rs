//! Asks proxies how many connections they may have, and proxies and storage what they have lost: once a minute, beside the
//! reconcile, which waits for nobody.
//!
//! What is answered is there at the next reconcile. A process that cannot be asked (its network may be closed to the
//! operator) is asked again as often; nothing but the condition `ConnectionsLimited` and two Events depend on it.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use freshet_operator_api::METRICS_PORT;
use freshet_operator_core::connections::{ConnectionLimits, read_limit};
use freshet_operator_core::notices::Notice;
use freshet_operator_core::notices::losses::{LossTally, read_losses};
use freshet_operator_core::observe::Observed;

use crate::ask;

/// How long a process may take to answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How often a process is asked.
const AGAIN: Duration = Duration::from_secs(60);
/// Processes that are asked at once; the others follow in [`NEXT`].
const ASKED_AT_ONCE: usize = 64;
const NEXT: Duration = Duration::from_secs(1);
/// Metrics that are longer are not read: no process says so much.
const METRICS_MAX_BYTES: usize = 1 << 20;

/// What the processes of one cluster have said, and whom it is being asked of.
#[derive(Debug, Clone)]
pub(super) struct Limits(Arc<Mutex<Said>>);

#[derive(Debug)]
struct Said {
    /// By the UID of the pod.
    processes: HashMap<String, Process>,
    losses: LossTally,
    /// What times of Events are counted from.
    start: Instant,
    /// Some are due and have not been asked.
    is_behind: bool,
}

#[derive(Debug, Clone, Copy)]
struct Process {
    asked: Instant,
    /// It has not answered.
    is_asked: bool,
    /// It was ready when it was last looked at.
    is_ready: bool,
    connections: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Said {
            processes: HashMap::new(),
            losses: LossTally::default(),
            start: Instant::now(),
            is_behind: false,
        })))
    }
}

impl Limits {
    /// What is known of the proxies that are there. Asks processes that are ready and have not been asked for a while.
    pub(super) fn known(&self, observed: &Observed) -> ConnectionLimits {
        let mut said = self.said();
        let proxies = observed.proxies.iter().map(|proxy| &proxy.pod);
        let pods: Vec<_> = proxies
            .chain(observed.storage_pods.iter().map(|node| &node.pod))
            .collect();
        let uids: HashSet<&str> = pods.iter().map(|pod| pod.uid.as_str()).collect();
        said.processes.retain(|uid, _| uids.contains(uid.as_str()));
        said.losses.keep_only(|uid| uids.contains(uid));
        let mut asked = 0;
        said.is_behind = false;
        for pod in pods {
            let ip: Option<IpAddr> = pod.ip.as_deref().and_then(|ip| ip.parse().ok());
            let is_ready = ip.is_some() && pod.is_ready && !pod.is_deleting;
            let former = said.processes.get_mut(&pod.uid).map(|process| {
                process.is_ready = is_ready;
                *process
            });
            let is_due = former.is_none_or(|process| process.asked.elapsed() >= AGAIN);
            let Some(ip) = ip.filter(|_| is_due && is_ready) else {
                continue;
            };
            if asked == ASKED_AT_ONCE {
                said.is_behind = true;
                break;
            }
            asked += 1;
            let process = Process {
                asked: Instant::now(),
                is_asked: true,
                is_ready,
                connections: former.and_then(|process| process.connections),
            };
            said.processes.insert(pod.uid.clone(), process);
            self.ask(pod.uid.clone(), SocketAddr::new(ip, METRICS_PORT));
        }
        let known = said.processes.iter();
        known
            .filter_map(|(uid, process)| Some((uid.clone(), process.connections?)))
            .collect()
    }

    /// What the processes have lost and is to be told now.
    pub(super) fn notices(&self) -> Vec<Notice> {
        let mut said = self.said();
        let now = said.start.elapsed();
        said.losses.next_notices(now)
    }

    /// When to look again for the sake of processes that were asked or are to be; nothing when there are none.
    pub(super) fn look_again_after(&self) -> Option<Duration> {
        let said = self.said();
        // One that is not ready wakes the reconcile when it is.
        let ready = said.processes.values().filter(|process| process.is_ready);
        let waits = ready.map(|process| {
            let elapsed = process.asked.elapsed();
            let answer = TIMEOUT.checked_sub(elapsed).filter(|_| process.is_asked);
            answer.unwrap_or_else(|| AGAIN.saturating_sub(elapsed)).max(NEXT)
        });
        waits.chain(said.is_behind.then_some(NEXT)).min()
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, uid: String, address: SocketAddr) {
        let limits = self.clone();
        tokio::spawn(async move {
            let answer = tokio::time::timeout(TIMEOUT, metrics_of(address)).await;
            let text = match answer {
                Ok(Ok(text)) => text,
                Ok(Err(error)) => return tracing::debug!(%address, error = format!("{error:#}"), "a process's metrics"),
                Err(_) => return tracing::debug!(%address, "a process's metrics do not come"),
            };
            let mut said = limits.said();
            // A process that has gone meanwhile was taken out.
            if let Some(process) = said.processes.get_mut(&uid) {
                process.is_asked = false;
                process.connections = read_limit(&text).or(process.connections);
                said.losses.take(&uid, read_losses(&text));
            }
        });
    }
}

async fn metrics_of(address: SocketAddr) -> anyhow::Result<String> {
    let body = ask::get(address, "/metrics", METRICS_MAX_BYTES).await?;
    String::from_utf8(body.to_vec()).context("no text")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn the_metrics_of_a_process_are_read_over_http() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            }
            assert!(request.starts_with(b"GET /metrics HTTP/1.1\r\n"));
            let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfreshet_proxy_connections_limit 7\n";
            stream.write_all(answer).await.unwrap();
        });
        let text = metrics_of(address).await.unwrap();
        assert_eq!(read_limit(&text), Some(7));
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn what_a_process_has_lost_between_two_answers_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for count in [100, 104] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
                }
                let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
                let answer = format!("{head}freshet_proxy_shed_total{{reason=\"slow_consumer\"}} {count}\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let limits = Limits::default();
        let process = Process {
            asked: Instant::now(),
            is_asked: true,
            is_ready: true,
            connections: Some(7),
        };
        for _ in 0..2 {
            limits.said().processes.insert("uid".to_owned(), process);
            limits.ask("uid".to_owned(), address);
            let answered = async {
                while limits.said().processes["uid"].is_asked {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), answered).await.unwrap();
        }
        assert_eq!(
            limits.said().processes["uid"].connections,
            Some(7),
            "what is not said again stays"
        );
        let notices = limits.notices();
        assert_eq!(notices[0].reason, "SlowConsumers");
        assert!(notices[0].note.contains(" 4 unsent messages"), "{}", notices[0].note);
    }

    #[tokio::test]
    async fn another_answer_than_metrics_is_an_error() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert_ne!(stream.read(&mut request).await.unwrap(), 0);
            let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        });
        let error = metrics_of(address).await.unwrap_err().to_string();
        assert!(error.contains("404"), "{error}");
    }
}
