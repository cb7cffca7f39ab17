//! Plays a script against a broker, and says where the broker does something else than is written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Context as _;

use super::client::{Client, QUIET};
use super::observe::{Telling, What};
use super::script::{Expect, Script, Step};
use super::send::{Outgoing, build};
use crate::brokers::{Broker, Kind, Server};
use crate::message::Version;

/// Longer than any script takes.
const KEEP_ALIVE_SECONDS: u16 = 600;

/// One script against one broker.
#[derive(Clone, Copy)]
pub(crate) struct Play<'a> {
    pub(crate) script: &'a Script,
    pub(crate) version: Version,
    pub(crate) kind: Kind,
    pub(crate) server: &'a Server,
}

/// Something that is not as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) line: usize,
    pub(crate) client: String,
    pub(crate) expected: String,
    pub(crate) seen: String,
    /// The script has a row that says otherwise, and the broker does what all do.
    pub(crate) is_gone: bool,
}

/// What came of a script.
#[derive(Debug, Default)]
pub(crate) struct Played {
    pub(crate) findings: Vec<Finding>,
    /// Known differences that were seen again.
    pub(crate) differences: usize,
}

/// Plays it to its end.
///
/// # Errors
/// When the script is not well formed, or the broker is gone.
pub(crate) async fn play(play: Play<'_>) -> anyhow::Result<Played> {
    let (address, broker) = match play.server {
        Server::One(broker) => (broker.address_for(play.version), None),
        Server::Each(program) => {
            let broker = Broker::of(program.clone()).await?;
            (broker.address_for(play.version), Some(broker))
        }
    };
    let mut stage = Stage {
        play,
        address,
        _broker: broker,
        own: format!("~{}~{}", play.script.name, u8::from(play.version)),
        clients: BTreeMap::new(),
        played: Played::default(),
    };
    for step in &play.script.steps {
        if !stage.step(step).await? {
            return Ok(stage.played);
        }
    }
    stage.end().await;
    Ok(stage.played)
}

struct Stage<'a> {
    play: Play<'a>,
    address: SocketAddr,
    /// Where the script has a broker of its own: it lives as long.
    _broker: Option<Broker>,
    own: String,
    clients: BTreeMap<&'static str, Client>,
    played: Played,
}

impl Stage<'_> {
    /// Returns whether the script goes on.
    async fn step(&mut self, step: &Step) -> anyhow::Result<bool> {
        match step {
            Step::Send {
                line,
                client,
                only,
                packet,
                completes,
            } => {
                if only.is_none_or(|only| only == self.play.version) {
                    self.send(*line, client, packet, *completes)
                        .await
                        .with_context(|| format!("line {line}: {packet}"))?;
                }
                Ok(true)
            }
            Step::Expect(expect) if expect.is_in(self.play.version) => Ok(self.expect(expect).await),
            Step::Expect(_) => Ok(true),
            Step::Wait(time) => {
                tokio::time::sleep(*time).await;
                Ok(true)
            }
        }
    }

    fn client(&mut self, name: &'static str) -> &mut Client {
        let Play { script, version, .. } = self.play;
        let address = self.address;
        let telling = || Telling {
            version,
            own: self.own.clone(),
            shows: script.shows.clone(),
            manual: false,
        };
        self.clients
            .entry(name)
            .or_insert_with(|| Client::new(address, telling()))
    }

    fn build(&mut self, name: &'static str, packet: &str) -> anyhow::Result<(Outgoing, u16)> {
        let (Play { version, kind, .. }, own) = (self.play, self.own.clone());
        let client = self.client(name);
        let mut used = 0;
        let outgoing = build(&with_keep_alive(packet, kind), version, &own, name, |written| {
            used = client.packet_id(written)?;
            Ok(used)
        })?;
        Ok((outgoing, used))
    }

    async fn send(&mut self, line: usize, name: &'static str, packet: &str, completes: bool) -> anyhow::Result<()> {
        let (outgoing, id) = self.build(name, packet)?;
        let (kind, qos) = (outgoing.name.clone(), outgoing.qos);
        self.client(name).send(outgoing).await?;
        if !completes {
            return Ok(());
        }
        let client = self.client(name);
        let mut answer = match kind.as_str() {
            "CONNECT" => client.answer(|seen| matches!(seen.what, What::Connected { .. })).await,
            "DISCONNECT" => client.answer(|seen| seen.what == What::Closed).await,
            "PUBLISH" if qos == 0 => return Ok(()),
            _ => client.answer(|seen| is_good_answer(seen.what, id)).await,
        };
        if qos == 2 && answer.is_ok() {
            let (release, _) = self.build(name, &format!("PUBREL #{id}"))?;
            let client = self.client(name);
            client.send(release).await?;
            answer = client.answer(|seen| is_good_answer(seen.what, id)).await;
        }
        if let Err(seen) = answer {
            self.found(line, name, format!("an answer to {kind}"), seen, false);
        }
        Ok(())
    }

    /// Returns whether what follows makes sense for this broker.
    async fn expect(&mut self, expect: &Expect) -> bool {
        let Play { version, kind, .. } = self.play;
        let row = expect.row(kind, version);
        let in_any_order = row.map_or(expect.in_any_order, |row| row.in_any_order || expect.in_any_order);
        let mut usual = expect.packets(version);
        if in_any_order {
            usual.sort_unstable();
        }
        let mut ways = row.map_or_else(|| vec![usual.clone()], |row| row.alternatives(version));
        if in_any_order {
            ways.iter_mut().for_each(|way| way.sort_unstable());
        }
        let seen = self.client(expect.client).expect(&ways, in_any_order).await;
        match (seen, row) {
            (Ok(()), None) => {}
            (Ok(()), Some(row)) => {
                self.played.differences += 1;
                return !row.stops;
            }
            (Err(seen), row) => {
                let is_gone = row.is_some() && seen == usual;
                let expected = ways.iter().map(|way| joined(way)).collect::<Vec<_>>().join(" // ");
                self.found(expect.line, expect.client, expected, joined(&seen), is_gone);
            }
        }
        true
    }

    /// Nothing may be left over.
    async fn end(&mut self) {
        // All at once: each waits for silence.
        let settling = self.clients.iter_mut().map(async |(name, client)| {
            client.settle().await;
            (*name, client.leftover())
        });
        for (name, left) in futures::future::join_all(settling).await {
            // Connections that brokers close behind the last step are no concern of the script.
            if !left.is_empty() && left != ["CLOSED"] {
                let expected = format!("nothing more, {} ms long", QUIET.as_millis());
                self.found(0, name, expected, joined(&left), false);
            }
        }
    }

    fn found(&mut self, line: usize, client: &str, expected: String, seen: String, is_gone: bool) {
        self.played.findings.push(Finding {
            line,
            client: client.to_owned(),
            expected,
            seen,
            is_gone,
        });
    }
}

/// Gives a CONNECT a keep-alive where a broker accepts none without one, and the script is not about that.
fn with_keep_alive(packet: &str, kind: Kind) -> Cow<'_, str> {
    match packet.strip_prefix("CONNECT") {
        Some(rest) if kind.needs_keep_alive() && !rest.contains("keep-alive=") => {
            Cow::Owned(format!("CONNECT keep-alive={KEEP_ALIVE_SECONDS}{rest}"))
        }
        _ => Cow::Borrowed(packet),
    }
}

fn is_good_answer(what: What, id: u16) -> bool {
    matches!(what, What::Answer { packet_id, is_error: false } if packet_id == id)
}

/// As a row of a script writes it.
pub(crate) fn joined(packets: &[String]) -> String {
    if packets.is_empty() {
        "nothing".to_owned()
    } else {
        packets.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_connect_that_says_nothing_of_it_is_given_a_keep_alive() {
        let of = |packet| with_keep_alive(packet, Kind::Rumqttd).into_owned();
        assert_eq!(of("CONNECT"), "CONNECT keep-alive=600");
        assert_eq!(of("CONNECT will=%/w \"w\""), "CONNECT keep-alive=600 will=%/w \"w\"");
        assert_eq!(of("CONNECT keep-alive=0"), "CONNECT keep-alive=0");
        assert_eq!(of("PINGREQ"), "PINGREQ");
        assert_eq!(with_keep_alive("CONNECT", Kind::Freshet), "CONNECT");
    }
}
