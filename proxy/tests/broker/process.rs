//! The binary: its file, its ports, its signals.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use freshet_mqtt::{QoS, ReasonCode};
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Client, DEADLINE, Seen, V5};
use crate::cluster::{Storage, proxy_config};
use crate::http::{await_condition, get};

/// A proxy in a process of its own, killed when the test ends.
struct Process {
    child: Child,
    folder: PathBuf,
    mqtt: SocketAddr,
    health: SocketAddr,
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

impl Process {
    fn start(name: &str, storage: &Storage) -> Self {
        let [mqtt, health, metrics] = free_ports();
        let mut config = proxy_config(storage);
        config.listeners[0].port = mqtt;
        let folder = std::env::temp_dir().join(format!("freshet-proxy-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("proxy.json");
        std::fs::write(&file, serde_json::to_vec(&config).unwrap()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_freshet-proxy"))
            .args(["--config", file.to_str().unwrap(), "--workers", "1"])
            .args([
                "--health-port",
                &health.to_string(),
                "--metrics-port",
                &metrics.to_string(),
            ])
            .env("POD_NAME", name)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            child,
            folder,
            mqtt: local(mqtt),
            health: local(health),
        }
    }

    fn await_ready(&self) {
        await_condition("the process is ready", || {
            std::net::TcpStream::connect(self.health).is_ok() && get(self.health, "/readyz").0 == 200
        });
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Exit code and standard output.
    fn ended(&mut self) -> (Option<i32>, String) {
        let until = Instant::now() + DEADLINE;
        let mut output = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        assert!(Instant::now() < until, "the process did not end in time");
        (self.child.wait().unwrap().code(), output)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn sigterm_hands_over_the_clients_and_the_log_is_json_with_a_line_per_fact() {
    let storage = Storage::start();
    let mut process = Process::start("pod-a", &storage);
    process.await_ready();
    let mut client = Client::connect(process.mqtt, V5, "client-a");
    client.publish("t", b"secret payload", QoS::AtLeastOnce, false);
    process.signal(Signal::TERM);
    assert_eq!(client.next(), Some(Seen::Disconnect(ReasonCode::ServerShuttingDown)));
    let (code, log) = process.ended();
    assert_eq!(code, Some(0));
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |message: &str| lines.iter().find(|line| line["message"] == message);
    assert!(told("listeners are open: everybody who reaches them may publish and subscribe").is_some());
    assert_eq!(told("client connected").unwrap()["client_id"], "client-a");
    assert_eq!(told("connection ended").unwrap()["reason"], "server_shutdown");
    assert!(!log.contains("secret payload"));
}

#[test]
fn a_changed_file_is_taken_up_and_a_broken_one_is_not() {
    let storage = Storage::start();
    let process = Process::start("pod-b", &storage);
    process.await_ready();
    let [second] = free_ports();
    let mut config = proxy_config(&storage);
    config.listeners[0].port = process.mqtt.port();
    config.listeners.push(crate::cluster::listener("second", second));
    let exchange = |text: &[u8]| {
        std::fs::write(process.folder.join("next"), text).unwrap();
        std::fs::rename(process.folder.join("next"), process.folder.join("proxy.json")).unwrap();
    };
    exchange(b"{");
    exchange(&serde_json::to_vec(&config).unwrap());
    let second = SocketAddr::from(([127, 0, 0, 1], second));
    await_condition("the second listener is open", || {
        std::net::TcpStream::connect(second).is_ok()
    });
    Client::connect(second, V5, "client").ping();
}

#[test]
fn what_is_wrong_at_the_start_is_told_and_ends_the_process() {
    let output = Command::new(env!("CARGO_BIN_EXE_freshet-proxy"))
        .args(["--config", "/nonexistent/proxy.json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("/nonexistent/proxy.json cannot be read"), "{error}");
}
