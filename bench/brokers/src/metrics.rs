//! What a storage node, or Freshet in one process, counts by itself: `/metrics`, read once.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// All that was counted at one moment.
#[derive(Debug)]
pub(crate) struct Metrics {
    text: String,
}

impl Metrics {
    /// Asks for it.
    ///
    /// # Errors
    /// When the process does not answer.
    pub(crate) fn read(address: SocketAddr) -> anyhow::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(ANSWERS_WITHIN))?;
        write!(
            socket,
            "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )?;
        let mut text = String::new();
        socket.read_to_string(&mut text)?;
        anyhow::ensure!(text.starts_with("HTTP/1.1 200"), "no metrics at {address}");
        Ok(Self { text })
    }

    /// The sum of `freshet_storage_NAME` over its labels; a label may be asked for: `stored_sessions{connected="false"}`.
    ///
    /// # Errors
    /// When there is no such metric.
    pub(crate) fn sum(&self, name: &str) -> anyhow::Result<u64> {
        let (name, label) = name.split_once('{').unwrap_or((name, ""));
        let label = label.trim_end_matches('}');
        let values = self.text.lines().filter_map(|line| {
            let rest = line.strip_prefix("freshet_storage_")?.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let is_it = labels.is_empty() || (labels.starts_with('{') && labels.ends_with('}'));
            (is_it && labels.contains(label)).then(|| value.parse::<u64>().ok())?
        });
        values
            .fold(None, |sum: Option<u64>, value| Some(sum.unwrap_or(0) + value))
            .with_context(|| format!("there is no freshet_storage_{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_goes_over_labels_and_not_over_names_that_begin_alike() {
        let metrics = Metrics {
            text: "freshet_storage_queued_bytes{shard=\"0\"} 3\nfreshet_storage_queued_bytes{shard=\"1\"} 4\n\
                   freshet_storage_queued_bytes_more 9\nfreshet_storage_stored_sessions{connected=\"true\"} 2\n\
                   freshet_storage_stored_sessions{connected=\"false\"} 5\nfreshet_storage_log_bytes 6\n"
                .to_owned(),
        };
        assert_eq!(metrics.sum("queued_bytes").unwrap(), 7);
        assert_eq!(metrics.sum("stored_sessions").unwrap(), 7);
        assert_eq!(metrics.sum("stored_sessions{connected=\"false\"}").unwrap(), 5);
        assert_eq!(metrics.sum("log_bytes").unwrap(), 6);
        assert!(metrics.sum("log").is_err());
    }
}
