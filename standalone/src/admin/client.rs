//! One question after the other to an admin port.

use std::time::Duration;

use anyhow::{Context as _, bail};
use freshet_storage_node::Refused;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long one answer may take. A node that is stuck says so itself before.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer larger than this is none.
const MOST_BYTES: usize = 16 << 20;

/// An admin port.
#[derive(Debug)]
pub(super) struct Client {
    /// `host:port`.
    authority: String,
}

impl Client {
    /// The one at a URL.
    ///
    /// # Errors
    /// When it is no `http://HOST:PORT`.
    pub(super) fn of(url: &str) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("--url {url} is no URL"))?;
        let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) if is_bare => Ok(Self {
                authority: match authority.port() {
                    Some(_) => authority.to_string(),
                    None => format!("{authority}:80"),
                },
            }),
            _ => bail!("--url {url}: must be http://HOST:PORT"),
        }
    }

    /// The answer to one question.
    ///
    /// # Errors
    /// When nobody answers, or with something else; the text says what to do.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<T> {
        let mut target = path.to_owned();
        if !query.is_empty() {
            let query = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(query)
                .finish();
            target = format!("{path}?{query}");
        }
        let authority = &self.authority;
        let answer = timeout(PATIENCE, self.ask(&target)).await;
        let (status, body) = answer.with_context(|| format!("http://{authority}{path} does not answer"))??;
        if status == StatusCode::OK {
            let answer = serde_json::from_slice(&body);
            return answer
                .with_context(|| format!("http://{authority}{path} answers with something of another version"));
        }
        match serde_json::from_slice::<Refused>(&body) {
            Ok(refused) => bail!(refused.error),
            Err(_) => bail!(
                "http://{authority}{path} answers {status}: that is not the admin port of a storage node or of `freshet \
                 standalone`, or of an older version"
            ),
        }
    }

    async fn ask(&self, target: &str) -> anyhow::Result<(StatusCode, Bytes)> {
        let authority = &self.authority;
        let stream = TcpStream::connect(authority).await.with_context(|| {
            format!(
                "nothing answers at {authority}: a storage pod's port is reached by `kubectl port-forward pod/NAME-storage-0 \
                 9091`, that of `freshet standalone` is what its --admin says"
            )
        })?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends with the sender; what is wrong with it is told by the request.
        tokio::spawn(connection);
        let request = Request::get(target)
            .header(hyper::header::HOST, authority)
            .body(Empty::<Bytes>::new())?;
        let of_port = || format!("http://{authority} speaks no HTTP as an admin port does");
        let response = sender.send_request(request).await.with_context(of_port)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error)).with_context(of_port)?;
        Ok((status, body.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_url_is_a_host_and_a_port_in_clear_text() {
        let authority = |url| Client::of(url).map(|client| client.authority);
        assert_eq!(authority("http://127.0.0.1:9091").unwrap(), "127.0.0.1:9091");
        assert_eq!(authority("http://[::1]:9091/").unwrap(), "[::1]:9091");
        assert_eq!(authority("http://storage").unwrap(), "storage:80");
        for wrong in [
            "https://a:1",
            "a:1",
            "http://a:1/metrics",
            "http://a:1?b",
            "",
            "http://",
        ] {
            let error = format!("{:#}", authority(wrong).unwrap_err());
            assert!(error.contains("--url"), "{wrong}: {error}");
        }
    }
}
