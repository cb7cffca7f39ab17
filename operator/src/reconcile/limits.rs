//! Asks proxies how many connections they may have: once in a proxy's life, beside the reconcile, which waits for nobody.
//!
//! What is answered is there at the next reconcile. A proxy that cannot be asked (its network may be closed to the
//! operator) is asked again once a minute; nothing but the condition `ConnectionsLimited` depends on it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use freshet_operator_api::METRICS_PORT;
use freshet_operator_core::connections::{ConnectionLimits, read_limit};
use freshet_operator_core::observe::Observed;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

/// How long a proxy may take to answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Pause before a proxy that has not answered is asked again.
const AGAIN: Duration = Duration::from_secs(60);
/// Metrics that are longer are not read: no proxy says so much.
const METRICS_MAX_BYTES: usize = 1 << 20;

/// What the proxies of one cluster have said, and whom it is being asked of.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits(Arc<Mutex<HashMap<String, Asked>>>);

#[derive(Debug, Clone, Copy)]
enum Asked {
    At(Instant),
    Said(u32),
}

impl Limits {
    /// What is known of the proxies that are there. Asks those that are ready and have not said.
    pub(super) fn known(&self, observed: &Observed) -> ConnectionLimits {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there = |uid: &String| observed.proxies.iter().any(|proxy| proxy.pod.uid == *uid);
        all.retain(|uid, _| is_there(uid));
        for pod in observed.proxies.iter().map(|proxy| &proxy.pod) {
            let ip: Option<IpAddr> = pod.ip.as_deref().and_then(|ip| ip.parse().ok());
            let is_due = match all.get(&pod.uid) {
                None => true,
                Some(Asked::At(at)) => at.elapsed() >= AGAIN,
                Some(Asked::Said(_)) => false,
            };
            if let Some(ip) = ip.filter(|_| is_due && pod.is_ready && !pod.is_deleting) {
                all.insert(pod.uid.clone(), Asked::At(Instant::now()));
                self.ask(pod.uid.clone(), SocketAddr::new(ip, METRICS_PORT));
            }
        }
        let said = all.iter().filter_map(|(uid, asked)| match asked {
            Asked::Said(limit) => Some((uid.clone(), *limit)),
            Asked::At(_) => None,
        });
        said.collect()
    }

    /// When to look again for the sake of proxies that were asked; nothing when all have said.
    pub(super) fn look_again_after(&self) -> Option<Duration> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = all.values().filter_map(|asked| match asked {
            Asked::At(at) if at.elapsed() < TIMEOUT => Some(TIMEOUT.saturating_sub(at.elapsed())),
            Asked::At(at) => Some(AGAIN.saturating_sub(at.elapsed())),
            Asked::Said(_) => None,
        });
        waits.min()
    }

    fn ask(&self, uid: String, address: SocketAddr) {
        let limits = self.clone();
        tokio::spawn(async move {
            let answer = tokio::time::timeout(TIMEOUT, metrics_of(address)).await;
            let text = match answer {
                Ok(Ok(text)) => text,
                Ok(Err(error)) => return tracing::debug!(%address, error = format!("{error:#}"), "a proxy's metrics"),
                Err(_) => return tracing::debug!(%address, "a proxy's metrics do not come"),
            };
            let Some(limit) = read_limit(&text) else { return };
            let mut all = limits.0.lock().unwrap_or_else(PoisonError::into_inner);
            // A proxy that has gone meanwhile was taken out.
            if let Some(asked) = all.get_mut(&uid) {
                *asked = Asked::Said(limit);
            }
        });
    }
}

async fn metrics_of(address: SocketAddr) -> anyhow::Result<String> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = hyper::Request::get("/metrics")
        .header(hyper::header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        ensure!(response.status().is_success(), "{}", response.status());
        let body = Limited::new(response.into_body(), METRICS_MAX_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        String::from_utf8(body.to_vec()).context("no text")
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection ends by itself when the server closes it; what it brought is still to be read.
        ended = connection => { ended?; answer.await }
    }
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
