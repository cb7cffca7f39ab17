//! Health and metrics over HTTP, on ports of their own.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use crate::NodeHandle;

/// Whether the node shuts down; set once.
#[derive(Debug, Clone, Default)]
pub struct ShuttingDown(Arc<AtomicBool>);

impl ShuttingDown {
    /// From now on the node is not ready.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// `/livez`: the actor takes its turns. `/readyz`: it does, and the node is not shutting down. Readiness says nothing
/// of quorums: a node that waited for others to be ready would keep them from reaching it.
pub fn health(node: NodeHandle, shutting_down: ShuttingDown) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state((node, shutting_down))
}

/// `/metrics` in the OpenMetrics text format.
pub fn metrics(node: NodeHandle) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(node)
}

/// Serves `router` on `listener` until `shutdown` is ready.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

async fn livez(State((node, _)): State<(NodeHandle, ShuttingDown)>) -> (StatusCode, &'static str) {
    if node.is_alive() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the storage actor takes no turns\n")
    }
}

async fn readyz(State((node, shutting_down)): State<(NodeHandle, ShuttingDown)>) -> (StatusCode, &'static str) {
    if shutting_down.0.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
    } else if node.is_alive() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the storage actor takes no turns\n")
    }
}

async fn scrape(State(node): State<NodeHandle>) -> Response {
    match node.metrics().await {
        Some(text) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, content_type)], text).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "the storage actor does not answer\n").into_response(),
    }
}
