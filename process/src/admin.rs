//! `/livez`, `/readyz` and `/metrics` over HTTP, in clear text, on ports of their own.

use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

/// What the kubelet asks of a process.
pub trait Probes: Clone + Send + Sync + 'static {
    /// Whether the process works; if not, it is started anew.
    ///
    /// # Errors
    /// Why not.
    fn liveness(&self) -> Result<(), &'static str>;

    /// Whether others may be sent here.
    ///
    /// # Errors
    /// Why not.
    fn readiness(&self) -> Result<(), &'static str>;
}

/// Something that has metrics.
pub trait Scrape: Clone + Send + Sync + 'static {
    /// All metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// Why there are none now.
    fn scrape(&self) -> impl Future<Output = Result<String, &'static str>> + Send;
}

/// `/livez` and `/readyz`.
pub fn health_routes<P: Probes>(probes: P) -> Router {
    Router::new()
        .route("/livez", get(livez::<P>))
        .route("/readyz", get(readyz::<P>))
        .with_state(probes)
}

/// `/metrics`.
pub fn metrics_routes<S: Scrape>(metrics: S) -> Router {
    Router::new().route("/metrics", get(scrape::<S>)).with_state(metrics)
}

/// Listens on `address`; where the kernel has no IPv6, all of its addresses are all of IPv4.
///
/// # Errors
/// When the address cannot be bound.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let mut bound = TcpListener::bind(address).await;
    if bound.is_err() && address.ip() == Ipv6Addr::UNSPECIFIED {
        bound = TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await;
    }
    bound.with_context(|| format!("{address} cannot be bound"))
}

/// Serves `routes` until the process ends or the task is dropped.
pub async fn serve_admin(listener: TcpListener, routes: Router) {
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "an admin server has ended");
    }
}

async fn livez<P: Probes>(State(probes): State<P>) -> Response {
    probe_answer(probes.liveness())
}

async fn readyz<P: Probes>(State(probes): State<P>) -> Response {
    probe_answer(probes.readiness())
}

fn probe_answer(state: Result<(), &'static str>) -> Response {
    match state {
        Ok(()) => "ok\n".into_response(),
        Err(why) => unavailable(why),
    }
}

async fn scrape<S: Scrape>(State(metrics): State<S>) -> Response {
    const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match metrics.scrape().await {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(why) => unavailable(why),
    }
}

fn unavailable(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
}
