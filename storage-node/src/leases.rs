//! `/leases`: which proxies storage takes to be alive, for whoever puts them into service (`freshet_load::leases`).

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use freshet_load::leases::{PATH, VERSION, encode};
use freshet_load::{CONTENT_TYPE, Leases};

use crate::NodeHandle;

/// The route.
pub fn lease_routes(node: NodeHandle) -> Router {
    Router::new().route(PATH, get(answer)).with_state(node)
}

async fn answer(State(node): State<NodeHandle>) -> Response {
    let Some(known) = node.proxy_leases().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the storage actor does not answer\n").into_response();
    };
    let leases = Leases {
        version: VERSION,
        held: known.held.into_iter().collect(),
        lost: known.lost.into_iter().collect(),
    };
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], encode(&leases)).into_response()
}
