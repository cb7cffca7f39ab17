//! Who takes part: clients whose filters overlap, with habits that make every rule of the judge say something.

use freshet_mqtt::{ProtocolVersion, QoS};

use crate::client::Identity;

/// Where publishers publish.
const TOPICS: [&str; 6] = ["t/0", "t/1", "t/2", "t/3", "t/4", "t/5"];
/// Where messages are retained.
const RETAINED: [&str; 4] = ["r/0", "r/1", "r/2", "r/3"];
/// For how long a session waits that outlives the run, in seconds.
const LONG_S: u32 = 600;
/// For how long one waits that its client may find gone, in seconds.
const SHORT_S: u32 = 2;

/// What a client does of its own accord. Chances are in thousandths a step, of which there are some hundred a second.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    pub(crate) identity: Identity,
    /// What it always wants.
    pub(crate) filters: Vec<(&'static str, QoS)>,
    /// What it wants now and then.
    pub(crate) flapping: Option<(&'static str, QoS)>,
    /// Where it publishes.
    pub(crate) topics: Vec<&'static str>,
    pub(crate) publishes: usize,
    pub(crate) retains: bool,
    /// Goes: with DISCONNECT or without.
    pub(crate) leaves: usize,
    /// How long it stays away at most.
    pub(crate) away_ms: usize,
    /// Connects again over its own head.
    pub(crate) takes_over: usize,
    /// Begins or ends to hold back its answers.
    pub(crate) dawdles: usize,
}

impl Habits {
    pub(crate) fn has_will(&self) -> bool {
        self.identity.will.is_some()
    }

    fn of(id: &str, number: usize, expiry_s: u32) -> Self {
        let version = if number.is_multiple_of(2) {
            ProtocolVersion::V5
        } else {
            ProtocolVersion::V311
        };
        // What 3.1.1 cannot say is a day.
        let expiry_s = match (version, expiry_s) {
            (ProtocolVersion::V311, 1..) => 86_400,
            _ => expiry_s,
        };
        Self {
            identity: Identity {
                id: format!("{id}-{number}"),
                version,
                expiry_s,
                will: None,
                reuses_packet_ids: false,
            },
            filters: Vec::new(),
            flapping: None,
            topics: Vec::new(),
            publishes: 0,
            retains: false,
            leaves: 3,
            away_ms: 800,
            takes_over: 2,
            dawdles: 10,
        }
    }
}

/// Everybody.
pub(crate) fn cast() -> Vec<Habits> {
    let mut cast = Vec::new();
    for number in 0..6 {
        let expiry_s = if number == 5 { 0 } else { LONG_S };
        let mut habits = Habits {
            topics: vec![TOPICS[number], TOPICS[(number + 1) % 6], TOPICS[(number + 3) % 6]],
            publishes: 60,
            ..Habits::of("publisher", number, expiry_s)
        };
        // A packet id that the broker takes to be in use still would swallow what comes next under it.
        habits.identity.reuses_packet_ids = number % 3 > 0;
        cast.push(habits);
    }
    for number in 0..10 {
        let exact = (TOPICS[number % 6], [QoS::ExactlyOnce, QoS::AtLeastOnce][number % 2]);
        let wide = match number {
            0 | 1 => Some(("t/#", QoS::ExactlyOnce)),
            2 => Some(("t/+", QoS::AtLeastOnce)),
            3 => Some(("#", QoS::ExactlyOnce)),
            _ => None,
        };
        cast.push(Habits {
            filters: wide.into_iter().chain([exact]).collect(),
            flapping: (number >= 6).then_some(("t/3", QoS::ExactlyOnce)),
            leaves: 5,
            away_ms: 1_500,
            takes_over: 3,
            ..Habits::of("subscriber", number, LONG_S)
        });
    }
    // Away for longer than a broker that starts waits for those who were connected.
    for number in 0..4 {
        cast.push(Habits {
            filters: vec![("t/2", QoS::ExactlyOnce), ("t/4", QoS::AtLeastOnce)],
            leaves: 20,
            away_ms: 6_000,
            ..Habits::of("traveller", number, LONG_S)
        });
    }
    for number in [0, 2] {
        cast.push(Habits {
            filters: vec![("t/1", QoS::ExactlyOnce), ("t/+", QoS::AtLeastOnce)],
            leaves: 4,
            away_ms: 9_000,
            ..Habits::of("forgetful", number, SHORT_S)
        });
    }
    for number in 0..2 {
        let mut habits = Habits {
            leaves: 8,
            takes_over: 0,
            ..Habits::of("mortal", number, 0)
        };
        let topic = format!("w/{number}");
        habits.identity.will = Some((topic, [QoS::AtLeastOnce, QoS::ExactlyOnce][number]));
        cast.push(habits);
    }
    cast.push(Habits {
        filters: vec![("w/#", QoS::ExactlyOnce)],
        leaves: 1,
        ..Habits::of("heir", 0, LONG_S)
    });
    for number in 0..2 {
        cast.push(Habits {
            topics: RETAINED.to_vec(),
            publishes: 30,
            retains: true,
            ..Habits::of("keeper", number, LONG_S)
        });
    }
    for number in 0..2 {
        cast.push(Habits {
            filters: vec![("r/#", QoS::AtLeastOnce)],
            leaves: 20,
            away_ms: 200,
            takes_over: 0,
            ..Habits::of("reader", number, 0)
        });
    }
    cast
}

/// Who looks, when all is quiet, at what is retained.
pub(crate) fn auditor() -> Habits {
    Habits {
        filters: vec![("r/#", QoS::ExactlyOnce)],
        ..Habits::of("auditor", 0, 0)
    }
}
