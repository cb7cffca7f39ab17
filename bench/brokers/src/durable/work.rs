//! The kinds of work with persistence: what is asked of each, and who can do it.

use std::time::Duration;

use freshet_bench_load::{Pairs, Passing, Timing};

use super::Findings;
use super::brokers::Keeper;
use super::waited::{Waited, waited};
use super::{asleep, back, light, sessions};
use crate::processes::Running;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Work {
    /// Kept sessions at QoS 1.
    Qos1,
    /// Kept sessions at QoS 2.
    Qos2,
    /// One device, one message outstanding.
    Alone,
    /// 100 devices, one message outstanding each.
    Devices,
    /// Light queues, and a start on them.
    Light,
    /// A publish that many sessions wait for, and their end.
    Waited,
    /// Sessions that come back at once.
    Back,
    /// Much passes while one session is asleep.
    Asleep,
}

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) timing: Timing,
    /// Queues of [`Work::Light`].
    pub(crate) light: usize,
    /// Sessions of [`Work::Waited`].
    pub(crate) waited: usize,
    /// Publishes of each part of it.
    pub(crate) publishes: u64,
    /// How long its sessions live.
    pub(crate) lifetime: Duration,
    /// Sessions of [`Work::Back`].
    pub(crate) back: usize,
    /// What passes in [`Work::Asleep`].
    pub(crate) passing: Passing,
}

/// Messages that wait for each session of [`Work::Back`].
const EACH: u64 = 70;
/// Checkpoints of [`Work::Waited`]: often enough that each part has some.
const CHECKPOINT_SECONDS: u32 = 3;

impl Work {
    pub(crate) const ALL: [Self; 8] = [
        Self::Qos1,
        Self::Qos2,
        Self::Alone,
        Self::Devices,
        Self::Light,
        Self::Waited,
        Self::Back,
        Self::Asleep,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Qos1 => "100 publishers to 100 kept sessions, QoS 1, window 20",
            Self::Qos2 => "100 publishers to 100 kept sessions, QoS 2, window 20",
            Self::Alone => "1 publisher to 1 kept session, QoS 1, window 1",
            Self::Devices => "100 publishers to 100 kept sessions, QoS 1, window 1",
            Self::Light => "light queues with one message each; kill -9, start",
            Self::Waited => "a publish that many sessions wait for, and the end of all of them",
            Self::Back => "sessions come back at once, 70 messages each",
            Self::Asleep => "one session asleep while much passes",
        }
    }

    /// What is asked for at full size.
    pub(crate) fn goal(self) -> &'static str {
        match self {
            Self::Qos1 => {
                "at least 5 times the rate of nats-server, whose default acknowledges before it flushes; CPU <= 5 us."
            }
            Self::Qos2 => "15,000 messages/s.",
            Self::Alone | Self::Devices => "acknowledged within two raw flushes and 1 ms, P50.",
            Self::Light => {
                "of 1,000,000 queues: <= 400 MB resident, >= 400,000 rows/s while reading, serving within 10 s."
            }
            Self::Waited => {
                "with 100,000 sessions CPU and bytes <= 1.1 times those with 10; all ended within 60 s, others' P99 \
                 <= 50 ms meanwhile."
            }
            Self::Back => {
                "of 15,000 sessions: >= 100,000 messages/s behind the last CONNACK, bytes read <= 1.5 times those stored, \
                 others' P99 <= 50 ms meanwhile."
            }
            Self::Asleep => "of 4 GiB in 50 segments: disk <= 2 times what is kept.",
        }
    }

    /// Whether it is done once or a few times only.
    pub(crate) fn is_long(self) -> bool {
        matches!(self, Self::Light | Self::Waited | Self::Back | Self::Asleep)
    }

    /// Why a broker has no figure here; none: it has.
    pub(crate) fn why_not(self, keeper: Keeper) -> Option<&'static str> {
        match (self, keeper) {
            (Self::Light, Keeper::Mosquitto) => Some("not run: kill -9 takes what it has not saved, all of it here"),
            (Self::Asleep, Keeper::Mosquitto) => Some("not run: everything is in memory until it is saved"),
            (Self::Light | Self::Waited | Self::Back, Keeper::Nats | Keeper::NatsAlways) => {
                Some("not run: a session is a consumer, of which it has 1,000 at most by default")
            }
            (Self::Asleep, Keeper::NatsAlways) => Some("not run: takes hours"),
            _ => None,
        }
    }

    /// Seconds between checkpoints of Freshet; none: the default.
    pub(crate) fn checkpoint_seconds(self) -> Option<u32> {
        (self == Self::Waited).then_some(CHECKPOINT_SECONDS)
    }

    /// Measures.
    ///
    /// # Errors
    /// When the broker fails, or loses or doubles a message.
    pub(crate) fn measure(
        self,
        broker: &mut Running,
        keeper: Keeper,
        amount: Amount,
        seed: u64,
    ) -> anyhow::Result<Findings> {
        let timing = amount.timing;
        let at_full_speed = |broker: &Running, qos| {
            let pairs = Pairs {
                pairs: 100,
                window: 20,
                qos,
            };
            sessions::at_full_speed(broker, timing, seed, pairs)
        };
        match self {
            Self::Qos1 => at_full_speed(broker, 1),
            Self::Qos2 => at_full_speed(broker, 2),
            Self::Alone => sessions::one_at_a_time(broker, timing, seed, 1),
            Self::Devices => sessions::one_at_a_time(broker, timing, seed, 100),
            Self::Light => light::light(broker, amount.light, seed),
            Self::Waited => {
                let of = Waited {
                    sessions: amount.waited,
                    publishes: amount.publishes,
                    lifetime: amount.lifetime,
                };
                waited(broker, of, seed, keeper.is_freshet())
            }
            Self::Back => back::back(broker, amount.back, EACH, seed),
            Self::Asleep => asleep::asleep(broker, amount.passing, seed),
        }
    }
}
