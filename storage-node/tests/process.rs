//! The binary as the kubelet runs it: configuration, probes, SIGTERM.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use freshet_config::StorageConfig;
use freshet_storage_contract::{MonotonicMs, Term};
use freshet_storage_core::{Restore, StorageSettings};
use freshet_storage_log::{Class, CommitLog, DataDirectory, Disk, LogOptions, RealDisk, Record, abort_process};
use serde_json::{Value, json};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("freshet-storage-node-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn config(&self, config: &Value) -> PathBuf {
        let path = self.0.join("storage.json");
        fs::write(&path, config.to_string()).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freshet-storage-node"));
    command
        .args([
            "--listen",
            "127.0.0.1:0",
            "--health-port",
            "0",
            "--metrics-port",
            "0",
            "--admin-port",
            "0",
            "--config",
        ])
        .arg(config);
    command
        .env("POD_NAME", "prod-storage-0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A node in a process of its own; killed when the test fails.
struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
    started: Value,
}

impl Process {
    fn start(config: &Path) -> Self {
        let mut child = command(config).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut process = Self {
            child,
            lines,
            started: Value::Null,
        };
        process.started = process.line("storage node started");
        process
    }

    /// Reads log lines until one has this message.
    fn line(&mut self, message: &str) -> Value {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "ended without: {message}");
            let parsed: Value = serde_json::from_str(&line).expect("log lines are JSON");
            if parsed["message"] == message {
                return parsed;
            }
        }
    }

    fn get(&self, port: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(self.started[port].as_str().unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn failure(config: &Path) -> String {
    let Output { status, stderr, .. } = command(config).output().unwrap();
    assert!(!status.success());
    String::from_utf8(stderr).unwrap()
}

#[test]
fn a_node_serves_probes_and_ends_within_seconds_of_sigterm() {
    let folder = Folder::new("sigterm");
    let mut node = Process::start(&folder.config(&json!({ "clusterUid": "5e0a" })));
    assert_eq!(node.started["pod"], "prod-storage-0");
    assert!(node.get("health", "/livez").starts_with("HTTP/1.1 200"));
    assert!(node.get("health", "/readyz").starts_with("HTTP/1.1 200"));
    assert!(node.get("metrics", "/metrics").contains("freshet_storage_build_info"));
    assert!(node.get("admin", "/admin/shards").starts_with("HTTP/1.1 200"));
    assert!(
        node.started["admin"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{:?}",
        node.started
    );
    // A connection that would stay.
    let _idle = TcpStream::connect(node.started["listen"].as_str().unwrap()).unwrap();

    let terminated = Instant::now();
    let kill = Command::new("kill")
        .args(["-TERM", &node.child.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    node.line("storage node has shut down");
    assert!(node.child.wait().unwrap().success());
    assert!(
        terminated.elapsed() < Duration::from_secs(10),
        "{:?}",
        terminated.elapsed()
    );
}

#[test]
fn a_changed_configuration_is_taken_up_and_what_needs_a_restart_is_named() {
    let folder = Folder::new("reload");
    let mut node = Process::start(&folder.config(&json!({ "clusterUid": "5e0a" })));
    folder.config(&json!({ "clusterUid": "5e0a", "shards": "many" }));
    node.line("a changed configuration is not taken up");
    folder.config(&json!({ "clusterUid": "5e0a", "shards": 16, "retainedLimits": { "messages": 5 } }));
    node.line("the configuration has changed");
    let line = node.line("a change of this field is taken up at the next start");
    assert_eq!(line["field"], "shards");
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused_at_the_start() {
    let folder = Folder::new("refused");
    assert!(failure(&folder.0.join("missing.json")).contains("cannot be read"));
    assert!(failure(&folder.config(&json!("text"))).contains("is no configuration of this process"));
    assert!(failure(&folder.config(&json!({}))).contains("clusterUid"));
    assert!(failure(&folder.config(&json!({ "clusterUid": "5e0a", "shards": 0 }))).contains("shards is 0"));
    let rules = json!({ "clusterUid": "5e0a", "placementRules": ["devices/#"] });
    assert!(failure(&folder.config(&rules)).contains("exactly one level must be {key}"));
    assert!(failure(&folder.config(&json!({ "clusterUid": "5e0a", "logLevel": "loud" }))).contains("loud"));
}

/// Writes a log that two lives began in, without what the first one wrote.
fn write_log_without_its_beginning(data: &Path, cluster_uid: &str) {
    let config = StorageConfig {
        cluster_uid: cluster_uid.to_owned(),
        ..StorageConfig::default()
    };
    let settings = StorageSettings::new(&config, 1);
    let (term, now) = (Term(5), MonotonicMs(0));
    let restore = || Restore::new(settings.clone()).unwrap();
    let mut later = restore();
    for (shard, position, bytes) in restore().finish(term, now).take_records() {
        later.record(shard, position, bytes).unwrap();
    }
    let mut later = later.finish(term, now);
    let records = later.take_records().map(|(shard, position, bytes)| Record {
        shard: u32::from(shard.0),
        position: position.0,
        kind: 1,
        bytes,
    });

    let disk = Arc::new(RealDisk::open(data).unwrap());
    let options = LogOptions::for_volume(disk.space().unwrap(), 1);
    let directory = DataDirectory::open(disk, [7; 16], cluster_uid).unwrap();
    let log = CommitLog::open(&directory, options).unwrap();
    let log = log.start(|_| {}, abort_process).unwrap();
    log.append(records.collect(), Class::Control).unwrap();
    log.stop();
}

#[test]
fn a_node_whose_log_has_lost_its_oldest_records_does_not_start_and_says_which() {
    let folder = Folder::new("oldest-gone");
    let data = folder.0.join("data");
    write_log_without_its_beginning(&data, "5e0a");
    let config = folder.config(&json!({ "clusterUid": "5e0a" }));
    let Output { status, stderr, .. } = command(&config).arg("--data-dir").arg(&data).output().unwrap();
    let error = String::from_utf8(stderr).unwrap();
    assert!(!status.success());
    for words in [
        data.to_str().unwrap(),
        "shard 0: ",
        "position",
        "are missing",
        "put back",
    ] {
        assert!(error.contains(words), "{words} is not in {error}");
    }
}
