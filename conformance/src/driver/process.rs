//! A driver in another language: a process that hosts all clients of its library, with JSON lines both ways.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::mpsc;

use super::Link;
use crate::history::History;
use crate::message::{Command, Event};
use crate::toolchain::Program;

/// The clients by the name that the lines carry.
type Peers = Arc<Mutex<HashMap<String, History<Event>>>>;

/// The process. It ends with its value.
#[derive(Debug)]
pub(crate) struct DriverProcess {
    peers: Peers,
    lines: mpsc::UnboundedSender<String>,
    next: AtomicU64,
    _child: Child,
}

#[derive(Deserialize)]
struct EventLine {
    peer: String,
    #[serde(flatten)]
    event: Event,
}

impl DriverProcess {
    /// Starts the program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(program: Program) -> anyhow::Result<Self> {
        let shown = program.to_string();
        let mut child = tokio::process::Command::from(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {shown}"))?;
        let stdin = child.stdin.take().context("no standard input")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let peers = Peers::default();
        let (lines, to_write) = mpsc::unbounded_channel();
        tokio::spawn(write(stdin, to_write));
        tokio::spawn(read(stdout, Arc::clone(&peers), shown));
        Ok(Self {
            peers,
            lines,
            next: AtomicU64::new(0),
            _child: child,
        })
    }

    /// Makes a client of the library.
    pub(crate) fn open(&self) -> Link {
        let peer = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let events = History::default();
        self.peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(peer.clone(), events.clone());
        let (commands, mut received) = mpsc::unbounded_channel();
        let lines = self.lines.clone();
        let failures = events.clone();
        let registry = Arc::clone(&self.peers);
        tokio::spawn(async move {
            while let Some(command) = received.recv().await {
                if let Err(error) = line(&peer, &command).map(|line| lines.send(line)) {
                    failures.add(Event::Failed { why: error.to_string() });
                }
            }
            // Nobody asks any more. Libraries keep sockets of their own as long as a client is kept.
            registry.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
            let _ = line(&peer, &Command::Forget).map(|line| lines.send(line));
        });
        Link { commands, events }
    }
}

fn line(peer: &str, command: &Command) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(command)?;
    value["peer"] = peer.into();
    Ok(format!("{value}\n"))
}

async fn write(mut stdin: ChildStdin, mut lines: mpsc::UnboundedReceiver<String>) {
    while let Some(line) = lines.recv().await {
        // A driver that has gone shows at the other end.
        if stdin.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stdout: ChildStdout, peers: Peers, shown: String) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str::<EventLine>(&line) {
            Ok(told) => {
                if let Some(events) = peers.lock().unwrap_or_else(PoisonError::into_inner).get(&told.peer) {
                    events.add(told.event);
                }
            }
            Err(error) => eprintln!("    {shown} said what is no event ({error}): {line}"),
        }
    }
    // Whoever waits learns why nothing comes.
    for events in peers.lock().unwrap_or_else(PoisonError::into_inner).values() {
        events.add(Event::Failed {
            why: format!("{shown} ended"),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_names_its_peer() {
        assert_eq!(
            line("3", &Command::Disconnect).unwrap(),
            "{\"do\":\"disconnect\",\"peer\":\"3\"}\n"
        );
    }

    #[tokio::test]
    async fn the_end_of_a_driver_is_told_to_its_clients() {
        let driver = DriverProcess::start(Program::new("head").args(["-n", "1"])).unwrap();
        let link = driver.open();
        link.commands.send(Command::Disconnect).unwrap();
        let why = link.events.wait(Duration::from_secs(20), |all| match all.last() {
            Some(Event::Failed { why }) => Some(why.clone()),
            _ => None,
        });
        assert_eq!(why.await.as_deref(), Some("head -n 1 ended"));
    }
}
