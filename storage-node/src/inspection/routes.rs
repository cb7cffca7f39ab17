//! Looks over HTTP: JSON for `freshet admin` and for scripts. Read-only; no payloads.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use freshet_storage_contract::{MonotonicMs, ShardId};
use freshet_storage_core::StorageCore;
use serde::{Deserialize, Serialize};

use super::Looker;
use crate::disk::NodeDisk;

/// [`freshet_storage_core::inspect::ShardsView`].
pub const SHARDS_PATH: &str = "/admin/shards";
/// [`freshet_storage_core::inspect::SessionsView`]; takes `prefix`, `after` and `limit`.
pub const SESSIONS_PATH: &str = "/admin/sessions";
/// [`freshet_storage_core::inspect::SessionView`]; takes `clientId`.
pub const SESSION_PATH: &str = "/admin/session";
/// [`freshet_storage_core::inspect::QueuesView`]; takes `filter` and `from`.
pub const QUEUES_PATH: &str = "/admin/queue";
/// [`crate::LogView`].
pub const LOG_PATH: &str = "/admin/log";

/// Sessions of a page, unless the request says.
const SESSIONS_PER_PAGE: usize = 100;

/// What is answered in place of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What is wrong, and what to do.
    pub error: String,
}

type Answer = Result<Response, (StatusCode, String)>;

/// The routes. Whoever reaches them sees client ids and topics.
pub fn inspection_routes(looker: Looker) -> Router {
    Router::new()
        .route(SHARDS_PATH, get(shards))
        .route(SESSIONS_PATH, get(sessions))
        .route(SESSION_PATH, get(session))
        .route(QUEUES_PATH, get(queues))
        .route(LOG_PATH, get(log))
        .with_state(looker)
}

async fn shards(State(looker): State<Looker>, uri: Uri) -> Response {
    answered(async {
        parameters(&uri, [])?;
        json(&look(&looker, |core, _, now| core.inspect_shards(now)).await?)
    })
    .await
}

async fn sessions(State(looker): State<Looker>, uri: Uri) -> Response {
    answered(async {
        let [prefix, after, limit] = parameters(&uri, ["prefix", "after", "limit"])?;
        let limit = number("limit", limit)?.unwrap_or(SESSIONS_PER_PAGE);
        let prefix = prefix.unwrap_or_default();
        let page = move |core: &StorageCore, _: Option<&NodeDisk>, now| {
            core.inspect_sessions(&prefix, after.as_deref(), limit, now)
        };
        json(&look(&looker, page).await?)
    })
    .await
}

async fn session(State(looker): State<Looker>, uri: Uri) -> Response {
    answered(async {
        let [client_id] = parameters(&uri, ["clientId"])?;
        let client_id = needed("clientId", client_id)?;
        let asked = client_id.clone();
        let found = look(&looker, move |core, _, now| core.inspect_session(&asked, now)).await?;
        let view = found.ok_or_else(|| {
            let error = format!(
                "no session of client id {client_id:?}: it is not connected, and nothing of it is stored; `freshet admin \
                 sessions --prefix` lists those that are stored"
            );
            (StatusCode::NOT_FOUND, error)
        })?;
        json(&view)
    })
    .await
}

async fn queues(State(looker): State<Looker>, uri: Uri) -> Response {
    answered(async {
        let [filter, from] = parameters(&uri, ["filter", "from"])?;
        let filter = needed("filter", filter)?;
        let from: Option<u16> = number("from", from)?;
        let asked = filter.clone();
        let at = ShardId(from.unwrap_or_default());
        let view = look(&looker, move |core, _, now| core.inspect_queues(&asked, at, now)).await?;
        if view.queues.is_empty() && view.next.is_none() && from.is_none() {
            let error = format!(
                "no queue of topic filter {filter:?}: no session that outlives its connection has subscribed to exactly this \
                 filter with QoS 1 or 2, and of a shared subscription nobody is a member; name it as clients do, \
                 `$share/GROUP/FILTER` for a shared one"
            );
            return Err((StatusCode::NOT_FOUND, error));
        }
        json(&view)
    })
    .await
}

async fn log(State(looker): State<Looker>, uri: Uri) -> Response {
    answered(async {
        parameters(&uri, [])?;
        let look_at_log = |core: &StorageCore, disk: Option<&NodeDisk>, now| disk.map(|disk| disk.view(core, now));
        let view = look(&looker, look_at_log).await?.ok_or_else(|| {
            let error = "this node has no log: it keeps everything in memory (spec.storage.volume, or --data-dir, gives it \
                         one)";
            (StatusCode::NOT_FOUND, error.to_owned())
        })?;
        json(&view)
    })
    .await
}

async fn look<T: Send + 'static>(
    looker: &Looker,
    look: impl FnOnce(&StorageCore, Option<&NodeDisk>, MonotonicMs) -> T + Send + 'static,
) -> Result<T, (StatusCode, String)> {
    let stuck = "storage takes no turns: look at /livez, at its CPU, and at its log";
    let answer = looker.look(look).await;
    answer.ok_or_else(|| (StatusCode::SERVICE_UNAVAILABLE, stuck.to_owned()))
}

async fn answered(answer: impl Future<Output = Answer>) -> Response {
    answer.await.unwrap_or_else(|(status, error)| {
        let refused = json(&Refused { error });
        refused.map_or_else(
            |(status, _)| status.into_response(),
            |body| (status, body).into_response(),
        )
    })
}

fn json(view: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(view).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// The values of these parameters. One that is not known is refused: it would have been meant to change the answer.
fn parameters<const N: usize>(
    uri: &Uri,
    names: [&'static str; N],
) -> Result<[Option<String>; N], (StatusCode, String)> {
    let mut values = [const { None }; N];
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        match names.iter().position(|known| *known == name) {
            Some(at) => values[at] = Some(value.into_owned()),
            None => {
                let error = format!("there is no parameter {name:?} here, only {names:?}");
                return Err((StatusCode::BAD_REQUEST, error));
            }
        }
    }
    Ok(values)
}

fn needed(name: &str, value: Option<String>) -> Result<String, (StatusCode, String)> {
    let value = value.filter(|value| !value.is_empty());
    value.ok_or_else(|| (StatusCode::BAD_REQUEST, format!("the parameter {name:?} is missing")))
}

fn number<T: std::str::FromStr>(name: &str, value: Option<String>) -> Result<Option<T>, (StatusCode, String)> {
    let not_one = |text| (StatusCode::BAD_REQUEST, format!("{name}: {text:?} is no number for it"));
    value.map(|text| text.parse().map_err(|_| not_one(text))).transpose()
}
