//! Debian's `mosquitto_pub` and `mosquitto_sub`: clients that somebody else wrote.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::command;
use crate::node::packages::find_program;

/// How long a publication may take before it counts as failed.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(60);

/// A message as `mosquitto_sub` received it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Received {
    /// The topic name.
    pub topic: String,
    /// The quality of service of the delivery.
    pub qos: u8,
    /// 1 when it is a retained message that was sent because of a subscription.
    pub retain: u8,
    /// The payload, as text.
    #[serde(default)]
    pub payload: String,
    /// MQTT 5 properties, in `mosquitto_sub`'s own words.
    #[serde(default)]
    pub properties: serde_json::Value,
}

/// A `mosquitto_sub` that runs until it is dropped.
#[derive(Debug)]
pub struct Subscriber {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
    /// Messages that came before the subscription was confirmed: those that waited for the session.
    early: VecDeque<Received>,
}

/// Publishes with `mosquitto_pub`; `arguments` are its own, such as `-t`, `-m`, `-q`, `-V`.
///
/// # Errors
/// When it fails or does not end in time: with what it said.
pub async fn publish(broker: SocketAddr, arguments: &[&str]) -> anyhow::Result<()> {
    let mut publisher = client("mosquitto_pub", broker)?;
    let published = command::run(publisher.args(arguments));
    tokio::time::timeout(PUBLISH_DEADLINE, published)
        .await
        .context("mosquitto_pub did not end in time")??;
    Ok(())
}

impl Subscriber {
    /// Starts `mosquitto_sub` and waits until the broker has confirmed its subscription.
    ///
    /// # Errors
    /// When it ends before, or does not get there by `deadline`: with what it said.
    pub async fn start(broker: SocketAddr, arguments: &[&str], deadline: Duration) -> anyhow::Result<Self> {
        let mut command = client("mosquitto_sub", broker)?;
        // One JSON object per message, and a line per packet beside it, of which SUBACK is waited for.
        command.args(["-d", "-F", "%j"]).args(arguments);
        let shown = command::display(&command);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start: {shown}"))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let stderr = child.stderr.take().context("no standard error")?;
        let mut subscriber = Self {
            child,
            stdout: BufReader::new(stdout).lines(),
            stderr: BufReader::new(stderr).lines(),
            early: VecDeque::new(),
        };
        let mut said = Vec::new();
        let subscribed = async {
            while let Some(line) = subscriber.line().await? {
                if line.starts_with('{') {
                    subscriber.early.push_back(received(&line)?);
                }
                let confirmed = line.contains("received SUBACK");
                said.push(line);
                if confirmed {
                    return Ok(());
                }
            }
            bail!("it ended")
        };
        let result = tokio::time::timeout(deadline, subscribed).await;
        match result {
            Ok(Ok(())) => Ok(subscriber),
            Ok(Err(error)) => bail!("{shown}: {error:#}\n{}", said.join("\n")),
            Err(_) => bail!("{shown}: no SUBACK within {deadline:?}\n{}", said.join("\n")),
        }
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// When none arrives by `deadline`, or the client ends.
    pub async fn next(&mut self, deadline: Duration) -> anyhow::Result<Received> {
        if let Some(early) = self.early.pop_front() {
            return Ok(early);
        }
        let next = async {
            while let Some(line) = self.line().await? {
                if line.starts_with('{') {
                    return received(&line);
                }
            }
            bail!("mosquitto_sub ended")
        };
        tokio::time::timeout(deadline, next)
            .await
            .with_context(|| format!("no message within {deadline:?}"))?
    }

    /// Waits for the next line of any kind, packets among them; `None` when the client has ended.
    ///
    /// # Errors
    /// When its output cannot be read.
    pub async fn line(&mut self) -> anyhow::Result<Option<String>> {
        let line = tokio::select! {
            biased;
            line = self.stdout.next_line() => line?,
            Some(line) = async { self.stderr.next_line().await.transpose() } => Some(line?),
        };
        Ok(line)
    }

    /// Tells whether the client still runs.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }
}

fn received(line: &str) -> anyhow::Result<Received> {
    serde_json::from_str(line).with_context(|| format!("not as expected: {line}"))
}

fn client(program: &str, broker: SocketAddr) -> anyhow::Result<Command> {
    // Into a pipe these write in blocks of kilobytes, and a line would be seen long after it was written.
    let mut command = Command::new(find_program("stdbuf")?);
    command.arg("--output=L").arg(find_program(program)?);
    command.args(["-h", &broker.ip().to_string(), "-p", &broker.port().to_string()]);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_mosquitto_sub_writes_it() {
        let line = r#"{"tst":"2026-11-21T04:00:00.0Z","topic":"a/b","qos":1,"retain":0,"payloadlen":2,"mid":1,
                       "properties":{"user-properties":[{"k":"v"}]},"payload":"hi"}"#;
        let received: Received = serde_json::from_str(line).unwrap();
        assert_eq!(
            (received.topic.as_str(), received.qos, received.payload.as_str()),
            ("a/b", 1, "hi")
        );
    }
}
