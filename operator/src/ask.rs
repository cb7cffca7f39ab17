//! One GET to a process of a cluster, over a connection of its own. For what is asked seldom; loads are scraped over
//! connections that stay (`scaling::scrape`).

use std::net::SocketAddr;

use anyhow::ensure;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

/// The body of the answer.
///
/// # Errors
/// When the process cannot be reached, answers with another status than success, or with more than `max_bytes`.
pub(crate) async fn get(address: SocketAddr, path: &str, max_bytes: usize) -> anyhow::Result<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        ensure!(response.status().is_success(), "{}", response.status());
        let body = Limited::new(response.into_body(), max_bytes).collect().await;
        Ok(body.map_err(|error| anyhow::anyhow!(error))?.to_bytes())
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection ends by itself when the server closes it; what it brought is still to be read.
        ended = connection => { ended?; answer.await }
    }
}
