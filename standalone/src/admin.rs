//! `freshet admin`: looks at a running storage node, or at `freshet standalone`, over its admin port.
//!
//! For people as aligned tables, for machines as the JSON that the port answers with, lists put together from their pages.
//! Changes nothing.

mod client;
mod render;
mod table;

use std::io::Write as _;

use anyhow::Context as _;
use freshet_storage_core::inspect::{QueuesView, SessionsView};
use freshet_storage_node::{LOG_PATH, QUEUES_PATH, SESSION_PATH, SESSIONS_PATH, SHARDS_PATH};
use serde::Serialize;

use self::client::Client;
use crate::arguments::{Admin, Look, Output};

/// Sessions that are asked for at once.
const PAGE: usize = 500;

/// Asks, and prints the answer.
///
/// # Errors
/// Who does not answer and what to do; what is not there.
pub(crate) fn run(arguments: &Admin) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let text = runtime.block_on(answer(arguments))?;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Who closed standard output has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output"),
    }
}

async fn answer(arguments: &Admin) -> anyhow::Result<String> {
    let client = Client::of(&arguments.url)?;
    let output = arguments.output;
    match &arguments.look {
        Look::Shards => shown(output, &client.get(SHARDS_PATH, &[]).await?, render::shards),
        Look::Sessions { prefix, after, limit } => {
            let found = sessions(&client, prefix, after.clone(), *limit).await?;
            shown(output, &found, render::sessions)
        }
        Look::Session { client_id } => {
            let view = client.get(SESSION_PATH, &[("clientId", client_id)]).await?;
            shown(output, &view, render::session)
        }
        Look::Queue { filter } => shown(output, &queues(&client, filter).await?, render::queues),
        Look::Log => shown(output, &client.get(LOG_PATH, &[]).await?, render::log),
    }
}

fn shown<T: Serialize>(output: Output, view: &T, render: fn(&T) -> String) -> anyhow::Result<String> {
    match output {
        Output::Table => Ok(render(view)),
        Output::Json => Ok(serde_json::to_string_pretty(view)? + "\n"),
    }
}

async fn sessions(
    client: &Client,
    prefix: &str,
    mut after: Option<String>,
    limit: usize,
) -> anyhow::Result<SessionsView> {
    let mut found = SessionsView {
        sessions: Vec::new(),
        next: None,
    };
    loop {
        let of_page = (limit - found.sessions.len()).min(PAGE).to_string();
        let mut query = vec![("prefix", prefix), ("limit", of_page.as_str())];
        query.extend(after.as_deref().map(|after| ("after", after)));
        let page: SessionsView = client.get(SESSIONS_PATH, &query).await?;
        found.sessions.extend(page.sessions);
        if page.next.is_none() || found.sessions.len() >= limit {
            found.next = page.next;
            return Ok(found);
        }
        after = page.next;
    }
}

async fn queues(client: &Client, filter: &str) -> anyhow::Result<QueuesView> {
    let mut found: QueuesView = client.get(QUEUES_PATH, &[("filter", filter)]).await?;
    while let Some(from) = found.next.take() {
        let from = from.to_string();
        let page: QueuesView = client.get(QUEUES_PATH, &[("filter", filter), ("from", &from)]).await?;
        found.queues.extend(page.queues);
        found.next = page.next;
    }
    Ok(found)
}
