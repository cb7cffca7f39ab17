//! `mosquitto_sub` and `mosquitto_pub`, as people use them: a process for each connection.
//!
//! A subscriber connects with its first SUBSCRIBE, since `mosquitto_sub` does both at once; each publication is a
//! process of its own. Only publications with the same topic alias share one, which reads them from its standard
//! input: an alias lives no longer than its connection.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use freshet_e2e::node::packages::find_program;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command as Program};
use tokio::sync::mpsc;

use super::Link;
use crate::history::History;
use crate::message::{Command, Connect, Event, Publish, Received, Subscribe, told_payload};

/// How long one publication may take.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(60);

/// How long `mosquitto_sub` may take for what it was sent.
const WAITS_WITHIN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(1);

/// What `mosquitto_sub -F %j` prints for a message.
#[derive(Deserialize)]
struct Printed {
    topic: String,
    qos: u8,
    retain: u8,
    #[serde(default)]
    payload: String,
}

/// One client of a script.
struct Peer {
    connect: Connect,
    events: History<Event>,
    subscriber: Option<Child>,
    publisher: Option<AliasPublisher>,
}

/// A `mosquitto_pub` that goes on.
struct AliasPublisher {
    child: Child,
    arguments: Vec<String>,
}

/// Makes a client.
pub(super) fn open() -> Link {
    let (commands, mut received) = mpsc::unbounded_channel();
    let events = History::default();
    let mut peer = Peer {
        connect: Connect::default(),
        events: events.clone(),
        subscriber: None,
        publisher: None,
    };
    tokio::spawn(async move {
        while let Some(command) = received.recv().await {
            if let Err(error) = peer.obey(command).await {
                peer.events.add(Event::Failed {
                    why: format!("{error:#}"),
                });
            }
        }
    });
    Link { commands, events }
}

impl Peer {
    async fn obey(&mut self, command: Command) -> anyhow::Result<()> {
        match command {
            Command::Connect(connect) => self.connect = connect,
            Command::Subscribe(subscribe) => self.subscribe(&subscribe)?,
            Command::Unsubscribe { .. } => bail!("mosquitto_sub unsubscribes only at its start"),
            Command::Publish(publish) => self.publish(&publish).await?,
            // Its processes are killed with it.
            Command::Forget => {}
            Command::Disconnect => {
                // Its way to DISCONNECT.
                let pid = self.subscriber.as_ref().and_then(Child::id);
                let pid = pid.and_then(|id| Pid::from_raw(id.try_into().ok()?));
                let pid = pid.context("nothing to disconnect")?;
                tokio::time::timeout(WAITS_WITHIN, until_it_waits(pid))
                    .await
                    .context("mosquitto_sub is busy all the time")??;
                kill_process(pid, Signal::TERM)?;
            }
        }
        Ok(())
    }

    fn subscribe(&mut self, subscribe: &Subscribe) -> anyhow::Result<()> {
        if self.subscriber.is_some() {
            bail!("mosquitto_sub subscribes only at its start");
        }
        let mut program = stdbuf("mosquitto_sub")?;
        program.args(["-d", "-F", "%j"]).args(connect_arguments(&self.connect));
        if self.connect.version == 5 {
            if let Some(identifier) = subscribe.identifier {
                program.args(["-D", "subscribe", "subscription-identifier", &identifier.to_string()]);
            }
            if subscribe.filters.iter().any(|filter| filter.retain_as_published) {
                program.arg("--retain-as-published");
            }
        }
        for filter in &subscribe.filters {
            program.args(["-t", &filter.topic_filter]);
        }
        let qos = subscribe.filters.first().map_or(0, |filter| filter.qos);
        program.args(["-q", &qos.to_string()]);
        let mut child = program
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let out = child.stdout.take().context("no standard output")?;
        let err = child.stderr.take().context("no standard error")?;
        self.subscriber = Some(child);
        let events = self.events.clone();
        tokio::spawn(async move {
            let (mut out, mut err) = (BufReader::new(out).lines(), BufReader::new(err).lines());
            let mut last = String::from("mosquitto_sub ended");
            loop {
                tokio::select! {
                    biased;
                    line = out.next_line() => match line {
                        Ok(Some(line)) => events_of(&line).into_iter().for_each(|event| events.add(event)),
                        _ => break,
                    },
                    Ok(Some(line)) = err.next_line() => last = line,
                }
            }
            events.add(Event::Closed { why: last });
        });
        Ok(())
    }

    async fn publish(&mut self, publish: &Publish) -> anyhow::Result<()> {
        let mut arguments = publish_arguments(&self.connect, publish);
        if publish.topic_alias.is_some() {
            return self.publish_with_alias(arguments, publish).await;
        }
        let input = match publish.payload.len() {
            0 => {
                arguments.push("-n".into());
                None
            }
            1..=1_000 => {
                arguments.extend(["-m".into(), publish.payload.clone()]);
                None
            }
            // An argument has a limit of its own.
            _ => {
                arguments.push("-s".into());
                Some(publish.payload.clone())
            }
        };
        let mut child = stdbuf("mosquitto_pub")?
            .args(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        if let Some(payload) = input {
            stdin.write_all(payload.as_bytes()).await?;
        }
        drop(stdin);
        let output = tokio::time::timeout(PUBLISH_DEADLINE, child.wait_with_output())
            .await
            .context("mosquitto_pub did not end in time")??;
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if !output.status.success() {
            bail!("mosquitto_pub: {}: {}", output.status, said.trim());
        }
        self.events.add(Event::Published {
            tag: publish.tag,
            reason_code: said.lines().find_map(acknowledged),
        });
        Ok(())
    }

    async fn publish_with_alias(&mut self, mut arguments: Vec<String>, publish: &Publish) -> anyhow::Result<()> {
        arguments.push("-l".into());
        if self
            .publisher
            .as_ref()
            .is_none_or(|running| running.arguments != arguments)
        {
            let mut child = stdbuf("mosquitto_pub")?
                .args(&arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()?;
            drop(child.stdout.take());
            self.publisher = Some(AliasPublisher { child, arguments });
        }
        let stdin = self.publisher.as_mut().and_then(|running| running.child.stdin.as_mut());
        let line = format!("{}\n", publish.payload);
        stdin.context("no standard input")?.write_all(line.as_bytes()).await?;
        // It does not say which line was acknowledged; the script sees the packets.
        self.events.add(Event::Published {
            tag: publish.tag,
            reason_code: None,
        });
        Ok(())
    }
}

/// Waits until `mosquitto_sub` has nothing to do. It takes locks in its handler of the signal that ends it, and would wait
/// for ever for one that it holds: it is told when it sleeps in its loop, and not when it has just printed something.
async fn until_it_waits(pid: Pid) -> anyhow::Result<()> {
    let file = format!("/proc/{}/stat", pid.as_raw_nonzero());
    while !is_asleep(&std::fs::read_to_string(&file).context("mosquitto_sub has ended")?) {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// The state stands behind the name of the program, which is in brackets and may hold any character (`proc_pid_stat(5)`).
fn is_asleep(stat: &str) -> bool {
    stat.rsplit_once(") ")
        .is_some_and(|(_, fields)| fields.starts_with('S'))
}

/// Into a pipe these write in blocks, and a line would be seen long after it was written.
fn stdbuf(program: &str) -> anyhow::Result<Program> {
    let mut command = Program::new(find_program("stdbuf")?);
    command.arg("--output=L").arg(find_program(program)?);
    Ok(command)
}

fn connect_arguments(connect: &Connect) -> Vec<String> {
    let mut arguments: Vec<String> = ["-h", "127.0.0.1", "-p", &connect.port.to_string()]
        .map(str::to_owned)
        .into();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(|&word| word.to_owned()));
    add(&["-V", if connect.version == 5 { "mqttv5" } else { "mqttv311" }]);
    add(&["-i", &connect.client_id, "-k", &connect.keep_alive_s.to_string()]);
    if !connect.clean {
        add(&["-c"]);
    }
    if let Some(seconds) = connect.session_expiry_interval_s {
        add(&["-x", &seconds.to_string()]);
    }
    let numbers = [
        ("receive-maximum", connect.receive_maximum),
        ("topic-alias-maximum", connect.topic_alias_maximum),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            add(&["-D", "connect", name, &value.to_string()]);
        }
    }
    if let Some(method) = &connect.authentication_method {
        add(&["-D", "connect", "authentication-method", method]);
    }
    if let Some(will) = &connect.will {
        add(&["--will-topic", &will.topic, "--will-payload", &will.payload]);
        add(&["--will-qos", &will.qos.to_string()]);
        if will.retain {
            add(&["--will-retain"]);
        }
        if let Some(delay) = will.delay_s {
            add(&["-D", "will", "will-delay-interval", &delay.to_string()]);
        }
    }
    arguments
}

fn publish_arguments(connect: &Connect, publish: &Publish) -> Vec<String> {
    let mut arguments = vec!["-d".to_owned()];
    arguments.extend(connect_arguments(connect));
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(|&word| word.to_owned()));
    add(&["-t", &publish.topic, "-q", &publish.qos.to_string()]);
    if publish.retain {
        add(&["-r"]);
    }
    if let Some(seconds) = publish.message_expiry_interval_s {
        add(&["-D", "publish", "message-expiry-interval", &seconds.to_string()]);
    }
    if let Some(alias) = publish.topic_alias {
        add(&["-D", "publish", "topic-alias", &alias.to_string()]);
    }
    for (name, value) in &publish.user_properties {
        add(&["-D", "publish", "user-property", name, value]);
    }
    arguments
}

/// What a line of `mosquitto_sub -d -F %j` says.
fn events_of(line: &str) -> Option<Event> {
    if line.starts_with('{') {
        let Ok(printed) = serde_json::from_str::<Printed>(line) else {
            return Some(Event::Failed {
                why: format!("mosquitto_sub printed {line}"),
            });
        };
        return Some(Event::Message(Received {
            topic: printed.topic,
            qos: printed.qos,
            retain: printed.retain == 1,
            payload: told_payload(printed.payload.as_bytes()),
        }));
    }
    if line.contains("received CONNACK (0)") {
        return Some(Event::Connected { session_present: None });
    }
    line.contains("received SUBACK").then_some(Event::Subscribed)
}

/// The reason code in `Client x received PUBACK (Mid: 1, RC:0)`, or in PUBCOMP or PUBREC.
fn acknowledged(line: &str) -> Option<u8> {
    let ends = ["received PUBACK", "received PUBCOMP"]
        .iter()
        .any(|end| line.contains(end))
        || line.contains("received PUBREC") && !line.contains("RC:0");
    let (_, code) = line.split_once("RC:").filter(|_| ends)?;
    code.trim_end_matches(')').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_process_is_read_behind_whatever_its_name_is() {
        assert!(is_asleep("7 (mosquitto_sub) S 1 7 7 0"));
        assert!(!is_asleep("7 (mosquitto) S (sub) R 1 7 7 0"));
        assert!(!is_asleep(""));
    }

    #[test]
    fn acknowledgements_are_read_from_what_mosquitto_pub_says() {
        assert_eq!(acknowledged("Client a received PUBACK (Mid: 1, RC:135)"), Some(135));
        assert_eq!(acknowledged("Client a received PUBREC (Mid: 1)"), None);
        assert_eq!(acknowledged("Client a sending DISCONNECT"), None);
    }

    #[test]
    fn lines_of_mosquitto_sub_are_events() {
        let message = events_of(r#"{"tst":"x","topic":"a","qos":1,"retain":0,"payloadlen":2,"mid":1,"payload":"hi"}"#);
        assert!(matches!(message, Some(Event::Message(received)) if received.payload == "hi"));
        assert_eq!(events_of("Client a received SUBACK"), Some(Event::Subscribed));
        assert_eq!(events_of("Client a sending PINGREQ"), None);
    }
}
