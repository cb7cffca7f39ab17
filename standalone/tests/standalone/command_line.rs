//! What is taken from the command line and the manifest, and what is refused.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;

use crate::broker::{Broker, command, refused};
use crate::client::{Client, V5};
use crate::http::{await_condition, metric};

/// A manifest that goes with its test.
pub(crate) struct Manifest(PathBuf);

impl Manifest {
    pub(crate) fn new(name: &str, spec: &str) -> Self {
        let file = std::env::temp_dir().join(format!("freshet-standalone-{name}-{}.yaml", std::process::id()));
        let head = "apiVersion: freshet.dev/v1alpha1\nkind: MqttCluster\nmetadata: {name: test, namespace: iot}\n";
        std::fs::write(&file, format!("{head}spec: {spec}\n")).unwrap();
        Self(file)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Manifest {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_data_dir_that_is_a_file_is_refused_by_name() {
    let file = Manifest::new("not-a-folder", "{}");
    let error = refused(&["--data-dir", file.path()]);
    assert!(error.contains("--data-dir") && error.contains(file.path()), "{error}");
}

#[test]
fn an_address_in_use_is_told_with_the_port() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = refused(&["--listen", &address.to_string()]);
    assert!(
        error.contains(&address.port().to_string()) && error.contains("in use"),
        "{error}"
    );
}

#[test]
fn a_manifest_s_mistakes_are_told_with_file_and_field() {
    let manifest = Manifest::new("mistakes", "{mqtt: {recieveMaximum: 5, publishHold: soon}}");
    let error = refused(&["--config", manifest.path()]);
    assert!(
        error.contains(manifest.path()) && error.contains("spec.mqtt.recieveMaximum"),
        "{error}"
    );
    assert!(refused(&["--config", "/nonexistent.yaml"]).contains("/nonexistent.yaml"));
    assert!(refused(&["--secrets-dir", "/nonexistent"]).contains("--secrets-dir /nonexistent"));
}

#[test]
fn a_manifest_s_limits_hold() {
    let manifest = Manifest::new("limits", "{listeners: [{name: only, port: 1883, maxConnections: 1}]}");
    let broker = Broker::start(&["--config", manifest.path()]);
    let mut first = Client::connect(broker.mqtt, V5, "first");
    assert_eq!(Client::open(broker.mqtt, V5).next(), None);
    first.ping();
    assert_eq!(
        metric(broker.admin, "freshet_proxy_connections{listener=\"only\"}"),
        1.0
    );
}

#[test]
fn without_listen_the_manifest_s_ports_are_opened_on_localhost() {
    let ports: Vec<u16> = [(); 2]
        .map(|()| TcpListener::bind("127.0.0.1:0").unwrap())
        .iter()
        .map(|listener| listener.local_addr().unwrap().port())
        .collect();
    let spec = format!(
        "{{listeners: [{{name: a, port: {}}}, {{name: b, port: {}}}]}}",
        ports[0], ports[1]
    );
    let manifest = Manifest::new("ports", &spec);
    let mut child = command(&["--config", manifest.path()])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    for port in ports {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        await_condition("the listener is open", || TcpStream::connect(address).is_ok());
        Client::connect(address, V5, "client").ping();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
