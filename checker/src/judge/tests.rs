//! Histories written by hand, right and wrong, for each rule.

mod delivered;
mod sessions;

use super::*;
use crate::history::{ConnectionNumber, Event, Killing, What, WillSaid};

/// A history as it is told: a millisecond between two lines unless more is said.
#[derive(Default)]
struct Story {
    history: History,
    now_us: u64,
}

fn message(publisher: &str, topic: &str, sequence: u64) -> Message {
    Message {
        publisher: publisher.to_owned(),
        topic: topic.to_owned(),
        sequence,
    }
}

impl Story {
    fn then(&mut self, connection: ConnectionNumber, what: What) -> &mut Self {
        self.now_us += 1_000;
        self.history.events.push(Event {
            at_us: self.now_us,
            connection,
            what,
        });
        self
    }

    fn after_s(&mut self, seconds: u64) -> &mut Self {
        self.now_us += seconds * 1_000_000;
        self
    }

    fn connecting(&mut self, connection: ConnectionNumber, client_id: &str, expiry_s: u32) -> &mut Self {
        self.then(
            connection,
            What::Connecting {
                client_id: client_id.to_owned(),
                version: 5,
                clean_start: expiry_s == 0,
                expiry_s,
                will: None,
            },
        )
    }

    /// A client with a session of ten minutes.
    fn connect(&mut self, connection: ConnectionNumber, client_id: &str, session_present: bool) -> &mut Self {
        self.connecting(connection, client_id, 600)
            .then(connection, What::Connected { session_present })
    }

    fn mortal(&mut self, connection: ConnectionNumber, client_id: &str) -> &mut Self {
        self.then(
            connection,
            What::Connecting {
                client_id: client_id.to_owned(),
                version: 5,
                clean_start: true,
                expiry_s: 0,
                will: Some(WillSaid {
                    message: message(client_id, "w", u64::from(connection)),
                    qos: 2,
                }),
            },
        )
        .then(connection, What::Connected { session_present: false })
    }

    fn subscribe(&mut self, connection: ConnectionNumber, filter: &str, qos: u8) -> &mut Self {
        let filter = filter.to_owned();
        let packet_id = 100;
        self.then(connection, What::Subscribing { packet_id, filter, qos })
            .then(
                connection,
                What::SubAck {
                    packet_id,
                    granted: qos,
                },
            )
    }

    fn unsubscribe(&mut self, connection: ConnectionNumber, filter: &str) -> &mut Self {
        let filter = filter.to_owned();
        let packet_id = 101;
        self.then(connection, What::Unsubscribing { packet_id, filter })
            .then(connection, What::UnsubAck { packet_id })
    }

    fn send(&mut self, connection: ConnectionNumber, packet_id: u16, message: &Message, qos: u8) -> &mut Self {
        self.send_with(connection, packet_id, &message.topic, Some(message), (qos, false))
    }

    fn retain(&mut self, connection: ConnectionNumber, packet_id: u16, topic: &str, of: Option<&Message>) -> &mut Self {
        self.send_with(connection, packet_id, topic, of, (1, true))
    }

    fn send_with(
        &mut self,
        connection: ConnectionNumber,
        packet_id: u16,
        topic: &str,
        message: Option<&Message>,
        (qos, retain): (u8, bool),
    ) -> &mut Self {
        self.then(
            connection,
            What::Publishing {
                packet_id,
                topic: topic.to_owned(),
                message: message.cloned(),
                qos,
                retain,
                // A packet id that is taken on an earlier connection of the client is sent again.
                dup: self.is_known(packet_id, message),
            },
        )
    }

    fn is_known(&self, id: u16, of: Option<&Message>) -> bool {
        let is_it = |event: &Event| matches!(&event.what, What::Publishing { packet_id, message, .. } if *packet_id == id && message.as_ref() == of);
        self.history.events.iter().any(is_it)
    }

    fn puback(&mut self, connection: ConnectionNumber, packet_id: u16) -> &mut Self {
        self.then(connection, What::PubAck { packet_id, reason: 0 })
    }

    fn receive(&mut self, connection: ConnectionNumber, packet_id: u16, message: &Message, qos: u8) -> &mut Self {
        self.receive_with(connection, packet_id, message, (qos, false))
    }

    fn receive_with(
        &mut self,
        connection: ConnectionNumber,
        packet_id: u16,
        message: &Message,
        (qos, retain): (u8, bool),
    ) -> &mut Self {
        self.then(
            connection,
            What::Received {
                packet_id: Some(packet_id),
                topic: message.topic.clone(),
                message: Some(message.clone()),
                qos,
                retain,
                dup: false,
            },
        )
    }

    /// The receiver's side of a whole QoS 2 exchange.
    fn receive_twice_sure(&mut self, connection: ConnectionNumber, packet_id: u16, message: &Message) -> &mut Self {
        self.receive(connection, packet_id, message, 2)
            .then(connection, What::Recording { packet_id })
            .then(connection, What::Released { packet_id })
            .then(connection, What::Completing { packet_id })
    }

    fn kill(&mut self) -> &mut Self {
        let part = "broker".to_owned();
        let how = Killing::Signal;
        self.then(0, What::Killed { part, how }).then(0, What::Started)
    }

    fn hang_up(&mut self, connection: ConnectionNumber) -> &mut Self {
        self.then(connection, What::HungUp)
    }

    fn rest(&mut self, connection: ConnectionNumber) -> &mut Self {
        self.then(connection, What::AtRest)
    }

    fn verdict(&self) -> Verdict {
        judge(&self.history, &Thresholds::default())
    }

    #[track_caller]
    fn is_right(&self) {
        let verdict = self.verdict();
        assert!(verdict.is_proven(), "{verdict}");
    }

    /// Refuted for one reason, shown by these lines.
    #[track_caller]
    fn is_wrong(&self, rule: Rule, lines: &[Line]) {
        let verdict = self.verdict();
        assert_eq!(verdict.violations.len(), 1, "{verdict}");
        let violation = &verdict.violations[0];
        assert_eq!((violation.rule, violation.lines.as_slice()), (rule, lines), "{verdict}");
    }
}

#[test]
fn a_history_in_which_too_little_happened_shows_nothing() {
    let mut story = Story::default();
    story.connect(1, "s", false).kill().rest(1);
    let thresholds = Thresholds {
        kills: 2,
        resumes: 1,
        ..Thresholds::default()
    };
    let verdict = judge(&story.history, &thresholds);
    assert!(!verdict.is_proven() && !verdict.is_refuted(), "{verdict}");
    assert_eq!(verdict.shortfalls.len(), 2, "{verdict}");
    story.is_right();
}

#[test]
fn a_fault_point_that_was_never_reached_is_told() {
    let mut story = Story::default();
    let how = Killing::FaultPoint("reached".to_owned());
    let part = "broker".to_owned();
    story.connect(1, "s", false).then(0, What::Killed { part, how });
    story.then(0, What::Started).rest(1);
    let thresholds = Thresholds {
        fault_points: vec!["reached".to_owned(), "missed".to_owned()],
        ..Thresholds::default()
    };
    let verdict = judge(&story.history, &thresholds);
    assert_eq!(
        verdict.shortfalls,
        ["the fault point missed was never reached"],
        "{verdict}"
    );
}

#[test]
fn a_client_that_does_not_come_back_leaves_the_end_open() {
    let mut story = Story::default();
    story.connect(1, "s", false).hang_up(1);
    let verdict = story.verdict();
    assert!(!verdict.is_proven() && !verdict.is_refuted(), "{verdict}");
}

#[test]
fn a_verdict_names_client_topic_sequence_and_lines() {
    let m = message("p", "t", 1);
    let mut story = Story::default();
    story.connect(1, "s", false).subscribe(1, "t", 1).connect(2, "p", false);
    story.send(2, 1, &m, 1).puback(2, 1).rest(1).rest(2);
    let verdict = story.verdict().to_string();
    let told = "NoLoss: client s, topic t, sequence 1 of p: acknowledged, and not delivered (lines 4, 7, 8)";
    assert!(verdict.contains(told), "{verdict}");
}

#[test]
fn what_happened_is_counted() {
    let m = message("p", "t", 1);
    let mut story = Story::default();
    story.connect(1, "s", false).subscribe(1, "t", 2).connect(2, "p", false);
    story.send(2, 1, &m, 2).kill();
    story
        .then(2, What::Closed { reason: None })
        .connect(4, "p", true)
        .connect(3, "s", true);
    let coverage = story.verdict().coverage;
    assert_eq!(
        (
            coverage.kills,
            coverage.resumes,
            coverage.takeovers,
            coverage.interrupted
        ),
        (1, 2, 1, 1)
    );
}
