//! Asks proxies for their load, over connections that stay open from second to second.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::ensure;
use freshet_load::{Load, MAX_BYTES, PATH, decode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::metrics::Metrics;

/// Room for a request and the head of an answer; the least that the client takes.
const BUFFER_BYTES: usize = 8_192;
/// A proxy that has not answered this often in a row is asked in one of so many rounds only.
const SILENT_AFTER: u32 = 5;

/// Connections to proxies, by UID of the pod.
pub(super) struct Scraper {
    proxies: Mutex<HashMap<String, Proxy>>,
    metrics: Metrics,
}

/// What is known of the way to one proxy.
#[derive(Default)]
struct Proxy {
    /// Open and idle.
    connection: Option<SendRequest<Empty<Bytes>>>,
    /// Rounds without an answer since the last one.
    missed: u32,
    /// Answers without storage since the last one that had it.
    detached: u32,
}

impl Scraper {
    /// Without connections.
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            proxies: Mutex::default(),
            metrics,
        }
    }

    /// Closes connections to proxies that are no more.
    pub(super) fn keep_only<'a>(&self, uids: impl Iterator<Item = &'a str>) {
        let uids: HashSet<&str> = uids.collect();
        let mut proxies = self.proxies();
        if proxies.len() > uids.len() {
            proxies.retain(|uid, _| uids.contains(uid.as_str()));
        }
    }

    /// Asks a proxy. Nothing: it did not answer in time, or not with its load.
    pub(super) async fn ask(&self, uid: &str, address: SocketAddr, deadline: Instant) -> Option<Load> {
        let connection = {
            let mut proxies = self.proxies();
            let proxy = proxies.entry(uid.to_owned()).or_default();
            proxy.missed = proxy.missed.saturating_add(1);
            if proxy.missed > SILENT_AFTER && !proxy.missed.is_multiple_of(SILENT_AFTER) {
                return None;
            }
            proxy.connection.take()
        };
        let outcome = timeout_at(deadline, answer_of(connection, address)).await;
        let (result, answer) = match outcome {
            Ok(Ok(answer)) => ("ok", Some(answer)),
            Ok(Err(error)) => {
                tracing::debug!(%address, error = format!("{error:#}"), "a proxy's load");
                ("failed", None)
            }
            Err(_) => ("late", None),
        };
        self.metrics.scraped(result);
        let (load, connection) = answer?;
        if let Some(proxy) = self.proxies().get_mut(uid) {
            proxy.missed = 0;
            proxy.detached = if load.storage_attached {
                0
            } else {
                proxy.detached.saturating_add(1)
            };
            proxy.connection = Some(connection);
        }
        Some(load)
    }

    /// Rounds without an answer since the last one, and answers without storage since one that had it; none of a proxy that
    /// was never asked.
    pub(super) fn rounds_without(&self, uid: &str) -> (u32, u32) {
        self.proxies()
            .get(uid)
            .map_or((0, 0), |proxy| (proxy.missed, proxy.detached))
    }

    fn proxies(&self) -> MutexGuard<'_, HashMap<String, Proxy>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The load that a proxy answers with, and the connection for the next time.
async fn answer_of(
    connection: Option<SendRequest<Empty<Bytes>>>,
    address: SocketAddr,
) -> anyhow::Result<(Load, SendRequest<Empty<Bytes>>)> {
    let mut connection = match connection.filter(|connection| !connection.is_closed()) {
        Some(connection) => connection,
        None => connect(address).await?,
    };
    connection.ready().await?;
    let request = hyper::Request::get(PATH)
        .header(hyper::header::HOST, "proxy")
        .body(Empty::new())?;
    let response = connection.send_request(request).await?;
    ensure!(response.status().is_success(), "{}", response.status());
    let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
    Ok((decode(&body)?, connection))
}

async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = Builder::new()
        .max_buf_size(BUFFER_BYTES)
        .handshake(TokioIo::new(stream))
        .await?;
    // Ends when the sender is dropped or the peer closes.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%address, %error, "a connection to a proxy ended");
        }
    });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use freshet_load::{VERSION, encode};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers every request of every connection with `body`, and counts connections.
    async fn serve(body: Vec<u8>) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let body = body.clone();
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    loop {
                        while !request.ends_with(b"\r\n\r\n") {
                            if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                                return;
                            }
                        }
                        assert!(request.starts_with(b"GET /loadz HTTP/1.1\r\n"));
                        request.clear();
                        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                        stream.write_all(head.as_bytes()).await.unwrap();
                        stream.write_all(&body).await.unwrap();
                    }
                });
            }
        });
        (address, connections)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    fn scraper() -> Scraper {
        Scraper::new(Metrics::new("1.2.3"))
    }

    #[tokio::test]
    async fn a_proxy_is_asked_again_over_the_same_connection() {
        let load = Load {
            version: VERSION,
            clients: Some(7),
            ..Load::default()
        };
        let (address, connections) = serve(encode(&load)).await;
        let scraper = scraper();
        for _ in 0..3 {
            assert_eq!(scraper.ask("a", address, soon()).await, Some(load.clone()));
        }
        assert_eq!(connections.load(Ordering::Relaxed), 1);
        scraper.keep_only(std::iter::empty());
        assert_eq!(scraper.ask("a", address, soon()).await, Some(load));
        assert_eq!(connections.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn answers_without_storage_are_counted_until_one_has_it() {
        let scraper = scraper();
        for (storage_attached, count) in [(false, 1), (false, 2), (true, 0), (false, 1)] {
            let load = Load {
                version: VERSION,
                storage_attached,
                ..Load::default()
            };
            let (address, _) = serve(encode(&load)).await;
            scraper.proxies().entry("a".to_owned()).or_default().connection = None;
            assert_eq!(scraper.ask("a", address, soon()).await, Some(load));
            assert_eq!(scraper.rounds_without("a"), (0, count));
        }
    }

    #[tokio::test]
    async fn what_is_no_load_is_missing() {
        for body in [
            b"freshet_proxy_clients 7\n".to_vec(),
            vec![0; MAX_BYTES + 1],
            Vec::new(),
        ] {
            let (address, _) = serve(body).await;
            assert_eq!(scraper().ask("a", address, soon()).await, None);
        }
    }

    #[tokio::test]
    async fn a_silent_proxy_costs_no_more_than_the_round_and_is_asked_more_rarely() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scraper = scraper();
        for _ in 0..50 {
            let deadline = Instant::now() + Duration::from_millis(20);
            assert_eq!(scraper.ask("a", address, deadline).await, None);
        }
        assert_eq!(
            (scraper.rounds_without("a"), scraper.rounds_without("b")),
            ((50, 0), (0, 0))
        );
        let text = scraper.metrics.encoded();
        // Five at first, then one in five.
        assert!(text.contains("scrapes_total{result=\"late\"} 14"), "{text}");
        drop(listener);
    }
}
