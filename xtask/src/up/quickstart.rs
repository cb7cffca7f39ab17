//! The example cluster: applied, waited for, and tried with a message.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::kubectl::Kubectl;
use freshet_e2e::mosquitto::{self, Subscriber};
use freshet_e2e::product::chart;
use freshet_e2e::progress::step;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::Target;
use crate::paths::repository_root;

const MANIFEST: &str = "examples/quickstart.yaml";
const RESOURCE: &str = "mqttclusters.freshet.dev/quickstart";
const SERVICE: &str = "service/quickstart";
const NAMESPACE: &str = "default";
const TOPIC: &str = "freshet/quickstart";
/// How long the cluster may take, with its images at hand.
const READY_DEADLINE: Duration = Duration::from_secs(300);
/// How long the subscription and the message may take.
const MESSAGE_DEADLINE: Duration = Duration::from_secs(30);

/// Where clients of the example cluster connect.
pub(super) struct Endpoint {
    address: SocketAddr,
    /// The way there, where there is no address that this machine reaches.
    forward: Option<Forward>,
}

/// A `kubectl port-forward`, open until it is dropped.
struct Forward {
    _kubectl: Child,
    /// It ends when nobody could read what it says about connections.
    _said: Lines<BufReader<ChildStdout>>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mqtt://{}", self.address)
    }
}

/// Applies the example, waits until it is ready, and sends a message through its Service.
pub(super) async fn start(target: &Target, kubectl: &Kubectl) -> Result<Endpoint> {
    step(&format!("apply {MANIFEST}"), async |step| {
        let applied = kubectl.apply_text(&manifest()?, Some(NAMESPACE)).await?;
        step.outcome(applied.trim().to_owned());
        Ok(())
    })
    .await?;
    step("wait until it is ready", async |step| {
        match await_ready(kubectl).await {
            Ok(message) => {
                step.outcome(message);
                Ok(())
            }
            Err(error) => Err(error.context(what_is_there(kubectl).await)),
        }
    })
    .await?;
    step("a message through the Service", async |step| {
        let endpoint = endpoint(target, kubectl).await?;
        let took = round_trip(endpoint.address).await?;
        step.outcome(format!(
            "published and received at {endpoint} in {} ms",
            took.as_millis()
        ));
        Ok(endpoint)
    })
    .await
}

/// Deletes the example and waits until what belongs to it is gone.
pub(crate) async fn delete(kubectl: &Kubectl) -> Result<()> {
    if chart::has_definition(kubectl).await? {
        let scope = ["--namespace", NAMESPACE, "--ignore-not-found", "--cascade=foreground"];
        kubectl.run(&[&["delete", RESOURCE], scope.as_slice()].concat()).await?;
    }
    Ok(())
}

/// Prints what a person may try next.
pub(super) fn print_what_next(endpoint: &Endpoint) {
    let (host, port) = (endpoint.address.ip(), endpoint.address.port());
    println!();
    match endpoint.forward {
        None => println!("Freshet answers at {endpoint} (open to all: no TLS and no authentication yet)."),
        Some(_) => println!("A way in: kubectl --namespace {NAMESPACE} port-forward {SERVICE} {port}:mqtt"),
    }
    println!("To try:");
    println!("  mosquitto_sub -h {host} -p {port} -v -t 'demo/#' &");
    println!("  mosquitto_pub -h {host} -p {port} -t demo/hello -m world");
    println!("  kubectl get mqc quickstart --watch");
    let more = r#"{"spec": {"proxy": {"scaling": {"min": 4}}}}"#;
    println!("  kubectl patch mqc/quickstart --type=merge --patch '{more}'");
}

fn manifest() -> Result<String> {
    let path = repository_root().join(MANIFEST);
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

async fn await_ready(kubectl: &Kubectl) -> Result<String> {
    await_condition("the example cluster is ready", READY_DEADLINE, async || {
        let question = ["get", RESOURCE, "--namespace", NAMESPACE, "--output=json"];
        Ok(observe(&serde_json::from_str(&kubectl.run(&question).await?)?))
    })
    .await
}

/// What a person would look at first when it does not become ready.
async fn what_is_there(kubectl: &Kubectl) -> String {
    let pods = kubectl
        .run(&["get", "pods", "--namespace", NAMESPACE, "--output=wide"])
        .await;
    let pods = pods.unwrap_or_else(|error| format!("no list of pods: {error:#}"));
    format!(
        "pods:\n{pods}\nthe operator's last words:\n{}\nit is not ready",
        chart::operator_said(kubectl).await
    )
}

/// Looks whether the operator has seen the resource as it is, all serve, and no revision is on its way.
fn observe(resource: &Value) -> Observed<String> {
    let status = &resource["status"];
    let condition = |name: &str| {
        status["conditions"]
            .as_array()?
            .iter()
            .find(|condition| condition["type"] == name)
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let Some(ready) = condition("Ready") else {
        return Observed::NotYet("the operator has not looked at it".to_owned());
    };
    let message = text(&ready["message"]);
    if ready["status"] != "True" {
        return Observed::NotYet(message);
    }
    if status["observedGeneration"] != resource["metadata"]["generation"] {
        return Observed::NotYet("the operator has not seen the last change".to_owned());
    }
    match condition("Progressing") {
        Some(progressing) if progressing["status"] == "True" => Observed::NotYet(text(&progressing["message"])),
        _ => Observed::Met(message),
    }
}

/// The NodePort where it answers on this machine, else a way through the API server.
async fn endpoint(target: &Target, kubectl: &Kubectl) -> Result<Endpoint> {
    let Some(node) = target.node_address() else {
        return forward(kubectl).await;
    };
    let path = "--output=jsonpath={.spec.ports[0].nodePort}";
    let port = kubectl.run(&["get", SERVICE, "--namespace", NAMESPACE, path]).await?;
    let port = port
        .trim()
        .parse()
        .with_context(|| format!("{SERVICE} has no NodePort: {port:?}"))?;
    Ok(Endpoint {
        address: SocketAddr::new(node, port),
        forward: None,
    })
}

async fn forward(kubectl: &Kubectl) -> Result<Endpoint> {
    let port = kubectl
        .run(&[
            "get",
            SERVICE,
            "--namespace",
            NAMESPACE,
            "--output=jsonpath={.spec.ports[0].port}",
        ])
        .await?;
    let mut command: Command = kubectl.command();
    command.args([
        "port-forward",
        "--namespace",
        NAMESPACE,
        SERVICE,
        &format!(":{}", port.trim()),
    ]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let mut child = command.spawn().context("cannot start kubectl port-forward")?;
    let mut lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
    let line = tokio::time::timeout(MESSAGE_DEADLINE, lines.next_line())
        .await
        .context("no forwarded port in time")??;
    let Some(line) = line else {
        bail!("kubectl port-forward ended")
    };
    let port = forwarded_port(&line).with_context(|| format!("no port in {line:?}"))?;
    Ok(Endpoint {
        address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        forward: Some(Forward {
            _kubectl: child,
            _said: lines,
        }),
    })
}

/// Reads `Forwarding from 127.0.0.1:40001 -> 1883`.
fn forwarded_port(line: &str) -> Option<u16> {
    line.strip_prefix("Forwarding from ")?
        .split_once(" -> ")?
        .0
        .rsplit_once(':')?
        .1
        .parse()
        .ok()
}

/// Sends one message to itself, as any client would; returns how long the message took.
async fn round_trip(broker: SocketAddr) -> Result<Duration> {
    let sent = format!("hello from process {}", std::process::id());
    let mut subscriber = Subscriber::start(broker, &["-V", "5", "-q", "1", "-t", TOPIC], MESSAGE_DEADLINE).await?;
    let began = Instant::now();
    mosquitto::publish(broker, &["-V", "5", "-q", "1", "-t", TOPIC, "-m", &sent]).await?;
    let received = subscriber.next(MESSAGE_DEADLINE).await?;
    ensure!(
        received.payload == sent,
        "sent {sent:?} and received {:?}",
        received.payload
    );
    Ok(began.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resource(ready: &str, observed: u32, progressing: &str) -> Value {
        json!({
            "metadata": {"generation": 2},
            "status": {"observedGeneration": observed, "conditions": [
                {"type": "Ready", "status": ready, "message": "2 of 2 proxies"},
                {"type": "Progressing", "status": progressing, "message": "a revision"},
            ]},
        })
    }

    #[test]
    fn ready_counts_only_for_the_resource_as_it_is_and_when_nothing_rolls() {
        assert!(matches!(observe(&resource("True", 2, "False")), Observed::Met(_)));
        assert!(matches!(observe(&resource("False", 2, "False")), Observed::NotYet(why) if why == "2 of 2 proxies"));
        assert!(matches!(observe(&resource("True", 1, "False")), Observed::NotYet(_)));
        assert!(matches!(observe(&resource("True", 2, "True")), Observed::NotYet(why) if why == "a revision"));
        assert!(matches!(
            observe(&json!({"metadata": {"generation": 1}})),
            Observed::NotYet(_)
        ));
    }

    #[test]
    fn the_forwarded_port_is_read() {
        assert_eq!(forwarded_port("Forwarding from 127.0.0.1:40001 -> 1883"), Some(40001));
        assert_eq!(forwarded_port("error: no pod"), None);
    }
}
