//! One client of a script: what it is told, what it and the wire have told, and how far the script has read.

use std::time::Duration;

use anyhow::anyhow;
use freshet_mqtt::PacketType;

use super::{DEADLINE, Played, Stop, finding};
use crate::driver::Link;
use crate::message::{Command, Event, Publish, Received, told_payload};
use crate::relay::{Direction, Gate, Packet, Relay, Wire};

/// What a subscriber is to receive.
pub(crate) type Message = Received;

impl Message {
    /// A live message.
    pub(crate) fn live(topic: &str, payload: &str, qos: u8) -> Self {
        Self {
            topic: topic.to_owned(),
            qos,
            retain: false,
            payload: told_payload(payload.as_bytes()),
        }
    }

    /// A message that the broker had retained.
    pub(crate) fn retained(topic: &str, payload: &str, qos: u8) -> Self {
        Self {
            retain: true,
            ..Self::live(topic, payload, qos)
        }
    }
}

/// A client; its connection is cut when it goes.
#[derive(Debug)]
pub(crate) struct Peer {
    relay: Relay,
    link: Link,
    tags: u64,
    /// Messages that the script has taken.
    messages_taken: usize,
    /// Acknowledgements of subscriptions that the script has taken.
    subacks_taken: usize,
}

impl Peer {
    pub(super) fn new(relay: Relay, link: Link) -> Self {
        Self {
            relay,
            link,
            tags: 0,
            messages_taken: 0,
            subacks_taken: 0,
        }
    }

    /// Gives the client a command.
    ///
    /// # Errors
    /// When its driver is gone.
    pub(crate) fn tell(&self, command: Command) -> Played {
        let sent = self.link.commands.send(command);
        sent.map_err(|_| Stop::Harness(anyhow!("the driver is gone")))
    }

    /// Sets what passes between this client and the broker from now on.
    pub(crate) fn set(&self, gate: Gate) {
        self.relay.set(gate);
    }

    /// Starts a publication and returns its tag.
    ///
    /// # Errors
    /// When the driver is gone.
    pub(crate) fn start_publish(&mut self, publish: Publish) -> Played<u64> {
        self.tags += 1;
        self.tell(Command::Publish(Publish {
            tag: self.tags,
            ..publish
        }))?;
        Ok(self.tags)
    }

    /// Waits until a publication is over.
    ///
    /// # Errors
    /// When it does not end.
    pub(crate) async fn expect_published(&self, step: &str, tag: u64) -> Played {
        self.expect_event(step, "the publication is acknowledged", |event| {
            matches!(event, Event::Published { tag: seen, .. } if *seen == tag).then_some(())
        })
        .await
    }

    /// Waits until the library says that it is connected; returns Session Present.
    ///
    /// # Errors
    /// When it does not, or says otherwise than CONNACK did.
    pub(crate) async fn expect_connected(&mut self, step: &str) -> Played<bool> {
        let told = self
            .expect_event(step, "the client is connected", |event| match event {
                Event::Connected { session_present } => Some(*session_present),
                _ => None,
            })
            .await?;
        let sent = self
            .expect_packet(step, "CONNACK", |packet| match packet {
                Packet::ConnAck { session_present, .. } => Some(*session_present),
                _ => None,
            })
            .await?;
        if told.is_some_and(|told| told != sent) {
            return Err(Stop::Missing(finding(step, sent, told)));
        }
        Ok(sent)
    }

    /// Waits for the next SUBACK and for the library to tell of it; returns the reason codes.
    ///
    /// # Errors
    /// When it does not come.
    pub(crate) async fn expect_suback(&mut self, step: &str) -> Played<Vec<u8>> {
        let taken = self.subacks_taken;
        let codes = self.relay.wire.wait(DEADLINE, |all| {
            all.iter()
                .filter_map(|wire| match &wire.packet {
                    Packet::SubAck { reason_codes } => Some(reason_codes.clone()),
                    _ => None,
                })
                .nth(taken)
        });
        let Some(codes) = codes.await else {
            return Err(self.missing(step, "SUBACK"));
        };
        self.subacks_taken += 1;
        // Some libraries make an error of a refusal.
        self.expect_event(step, "the client tells that it has subscribed, or not", |event| {
            matches!(event, Event::Subscribed | Event::Failed { .. } | Event::Closed { .. }).then_some(())
        })
        .await?;
        Ok(codes)
    }

    /// Waits for as many messages as are expected, and returns them.
    pub(super) async fn take_messages(&mut self, step: &str, expected: &[Message]) -> Played<Vec<Message>> {
        let (taken, count) = (self.messages_taken, expected.len());
        let collect = |all: &[Event]| -> Vec<Message> {
            all.iter()
                .filter_map(|event| match event {
                    Event::Message(message) => Some(message.clone()),
                    _ => None,
                })
                .skip(taken)
                .take(count)
                .collect()
        };
        let come = self.link.events.wait(DEADLINE, |all| {
            // Counted first: collecting again for each of a thousand messages would be a million copies.
            let messages = all.iter().filter(|event| matches!(event, Event::Message(_))).count();
            (messages >= taken + count || has_failed(all)).then(|| collect(all))
        });
        let seen = match come.await {
            Some(seen) => seen,
            None => self.link.events.look(collect),
        };
        self.messages_taken += seen.len();
        if seen.len() < count {
            let failures = self.link.events.look(failures);
            return Err(Stop::Missing(finding(step, expected, (seen, failures))));
        }
        Ok(seen)
    }

    /// The next message, whatever it is.
    ///
    /// # Errors
    /// When none comes.
    pub(crate) async fn next_message(&mut self, step: &str) -> Played<Message> {
        let any = [Message::default()];
        let mut messages = self.take_messages(step, &any).await?;
        messages.pop().ok_or_else(|| self.missing(step, "a message"))
    }

    /// Takes the messages that are there.
    pub(super) fn arrived_messages(&mut self) -> Vec<Message> {
        let messages: Vec<Message> = self.link.events.look(|all| {
            let messages = all.iter().filter_map(|event| match event {
                Event::Message(message) => Some(message.clone()),
                _ => None,
            });
            messages.skip(self.messages_taken).collect()
        });
        self.messages_taken += messages.len();
        messages
    }

    /// How many messages the script has taken.
    pub(crate) fn message_count(&self) -> usize {
        self.messages_taken
    }

    /// Waits until there is a message that the script has not taken; false when none comes.
    pub(super) async fn has_message(&self, within: Duration) -> bool {
        let taken = self.messages_taken;
        let come = self.link.events.wait(within, |all| {
            let messages = all.iter().filter(|event| matches!(event, Event::Message(_))).count();
            (messages > taken).then_some(())
        });
        come.await.is_some()
    }

    /// Waits until the library or the broker has refused to go on with something; false when neither does.
    pub(crate) async fn wait_for_refusal(&self, within: Duration) -> bool {
        let by_library = self.link.events.wait(within, |all| {
            let refused = |event: &Event| matches!(event, Event::Failed { .. } | Event::Closed { .. });
            all.iter().any(refused).then_some(true)
        });
        let by_broker = self.relay.wire.wait(within, |all| {
            to_client(all)
                .any(|packet| matches!(packet, Packet::Disconnect { .. } | Packet::Closed))
                .then_some(true)
        });
        tokio::select! {
            Some(refused) = by_library => refused,
            Some(refused) = by_broker => refused,
            else => false,
        }
    }

    /// Waits for an event of the library.
    ///
    /// # Errors
    /// When it does not come.
    pub(crate) async fn expect_event<T>(
        &self,
        step: &str,
        what: &str,
        mut look: impl FnMut(&Event) -> Option<T>,
    ) -> Played<T> {
        let found = self.link.events.wait(DEADLINE, |all| {
            let found = all.iter().find_map(&mut look);
            // A failure ends the wait at once.
            if found.is_some() || has_failed(all) {
                Some(found)
            } else {
                None
            }
        });
        match found.await.flatten() {
            Some(found) => Ok(found),
            None => Err(self.missing(step, what)),
        }
    }

    /// Waits for a packet from the broker.
    ///
    /// # Errors
    /// When it does not come.
    pub(crate) async fn expect_packet<T>(
        &self,
        step: &str,
        what: &str,
        mut look: impl FnMut(&Packet) -> Option<T>,
    ) -> Played<T> {
        let found = self.relay.wire.wait(DEADLINE, |all| to_client(all).find_map(&mut look));
        found.await.ok_or_else(|| self.missing(step, what))
    }

    /// Waits until the client has sent as many acknowledgements of a kind.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) async fn expect_acknowledgements(&self, step: &str, kind: PacketType, count: usize) -> Played {
        let is_sent = |wire: &&Wire| {
            let of_kind = matches!(wire.packet, Packet::Ack { packet_type, .. } if packet_type == kind);
            wire.direction == Direction::ToBroker && of_kind
        };
        let found = self.relay.wire.wait(DEADLINE, |all| {
            (all.iter().filter(is_sent).count() >= count).then_some(())
        });
        found
            .await
            .ok_or_else(|| self.missing(step, "acknowledgements of the client"))
    }

    /// Waits until the broker has closed the connection; returns the reason code of its DISCONNECT, if there was one.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) async fn expect_closed(&self, step: &str) -> Played<Option<u8>> {
        self.expect_packet(step, "the connection is closed", |packet| {
            (*packet == Packet::Closed).then_some(())
        })
        .await?;
        Ok(self
            .packets(|packet| match packet {
                Packet::Disconnect { reason_code } => Some(*reason_code),
                _ => None,
            })
            .last()
            .copied())
    }

    /// The packets from the broker that `look` is interested in.
    pub(crate) fn packets<T>(&self, look: impl FnMut(&Packet) -> Option<T>) -> Vec<T> {
        self.relay.wire.look(|all| to_client(all).filter_map(look).collect())
    }

    /// The packets from the client that `look` is interested in.
    pub(crate) fn sent_packets<T>(&self, mut look: impl FnMut(&Packet) -> Option<T>) -> Vec<T> {
        self.relay.wire.look(|all| {
            let sent = all.iter().filter(|wire| wire.direction == Direction::ToBroker);
            sent.filter_map(|wire| look(&wire.packet)).collect()
        })
    }

    /// Says DISCONNECT, and waits for the end of the connection.
    ///
    /// # Errors
    /// When it does not end.
    pub(crate) async fn disconnect(self) -> Played {
        self.tell(Command::Disconnect)?;
        self.expect_closed("DISCONNECT").await.map(drop)
    }

    fn missing(&self, step: &str, what: &str) -> Stop {
        let events = self.link.events.look(|all| format!("{:?}", tail(all)));
        let wire = self.relay.wire.look(|all| format!("{:?}", tail(all)));
        Stop::Missing(finding(step, what, format!("events {events}, wire {wire}")))
    }
}

fn to_client(all: &[Wire]) -> impl Iterator<Item = &Packet> {
    all.iter()
        .filter(|wire| wire.direction == Direction::ToClient)
        .map(|wire| &wire.packet)
}

fn has_failed(all: &[Event]) -> bool {
    all.iter().any(|event| matches!(event, Event::Failed { .. }))
}

fn failures(all: &[Event]) -> Vec<Event> {
    all.iter()
        .filter(|event| matches!(event, Event::Failed { .. } | Event::Closed { .. }))
        .cloned()
        .collect()
}

/// The last few entries: what a reader of a failure needs first.
pub(super) fn tail<T>(all: &[T]) -> &[T] {
    const LAST: usize = 6;
    &all[all.len().saturating_sub(LAST)..]
}
