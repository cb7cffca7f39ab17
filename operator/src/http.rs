//! `/livez`, `/readyz` and `/metrics`.

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::metrics::Metrics;

/// The routes. A replica that waits to lead is as live and ready as the one that leads: it can take over.
pub(crate) fn routes(metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(|| async { "live\n" }))
        .route("/readyz", get(|| async { "ready\n" }))
        .route("/metrics", get(encoded))
        .with_state(metrics)
}

async fn encoded(State(metrics): State<Metrics>) -> impl IntoResponse {
    (
        [(
            CONTENT_TYPE,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )],
        metrics.encoded(),
    )
}
