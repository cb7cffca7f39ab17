//! A client's life: what its habits and its seed make it do, until all are told to come to rest.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use freshet_mqtt::QoS;
use freshet_simulation::Random;

use crate::cast::Habits;
use crate::client::{Client, Listened};
use crate::pause::pause;

/// Publications that a client has under way at most.
const WINDOW: usize = 10;
/// How long a client listens before it thinks of something to do.
const STEP: Duration = Duration::from_millis(10);
/// Packets that it takes in one go.
const PACKETS_A_STEP: usize = 50;
/// How long it waits when the broker is not there.
const NOBODY_THERE: Duration = Duration::from_millis(30);
/// How often a client that rests says that it is there: a broker that has gone is noticed.
const PING_EVERY: Duration = Duration::from_secs(1);

/// What all are at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// They do as they like.
    Live,
    /// They finish what they have begun, and stay.
    Rest,
    /// Nothing is done to the broker any more: who has a will dies, so that it is due. The others stay.
    Dying,
    /// They go.
    Over,
}

/// Where one thread tells all others what they are at.
#[derive(Debug, Default)]
pub(crate) struct Stage(AtomicU8);

impl Stage {
    pub(crate) fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Release);
    }

    fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Live,
            1 => Phase::Rest,
            2 => Phase::Dying,
            _ => Phase::Over,
        }
    }
}

/// Lives until the stage says that it is over. `is_quiet` says, while all come to rest, whether this one has.
pub(crate) fn live(mut client: Client, habits: &Habits, mut random: Random, stage: &Stage, is_quiet: &AtomicBool) {
    for (filter, qos) in &habits.filters {
        client.subscribe(filter, *qos);
    }
    let mut away_until = Instant::now();
    let mut next_ping = Instant::now();
    let mut has_died = false;
    loop {
        let phase = stage.phase();
        match phase {
            Phase::Live if !client.is_connected() && Instant::now() < away_until => {
                pause(STEP);
                continue;
            }
            Phase::Live => {}
            Phase::Dying if habits.has_will() => {
                has_died = has_died || die(&mut client);
                is_quiet.store(has_died, Ordering::Release);
                pause(STEP);
                continue;
            }
            Phase::Rest | Phase::Dying => client.hold = Duration::ZERO,
            Phase::Over => {
                client.rest();
                return;
            }
        }
        if !client.is_connected() && !client.connect() {
            pause(NOBODY_THERE);
            continue;
        }
        listen(&mut client);
        if phase == Phase::Live {
            if let Some(away) = act(&mut client, habits, &mut random) {
                away_until = Instant::now() + away;
            }
        } else if Instant::now() >= next_ping {
            next_ping = Instant::now() + PING_EVERY;
            client.ping();
        }
        is_quiet.store(client.is_quiet(), Ordering::Release);
    }
}

/// Dies on a connection that nothing was done to: the one before may be older than the last that was. False: nobody was
/// there to connect to.
fn die(client: &mut Client) -> bool {
    client.hang_up();
    let has_lived = client.connect();
    client.hang_up();
    has_lived
}

fn listen(client: &mut Client) {
    let mut patience = STEP;
    for _ in 0..PACKETS_A_STEP {
        if client.listen(patience) != Listened::Heard {
            return;
        }
        patience = Duration::ZERO;
    }
}

/// Does what comes to its mind. Some: it has gone, for so long.
fn act(client: &mut Client, habits: &Habits, random: &mut Random) -> Option<Duration> {
    let mut comes_to_mind = |thousandths: usize| random.below(1_000) < thousandths;
    if comes_to_mind(habits.leaves) {
        if comes_to_mind(500) {
            client.disconnect();
        } else {
            client.hang_up();
        }
        let away_ms = random.below(habits.away_ms);
        return Some(Duration::from_millis(away_ms as u64));
    }
    if comes_to_mind(habits.takes_over) {
        client.connect();
    }
    if comes_to_mind(habits.dawdles) {
        client.hold = match client.hold {
            Duration::ZERO => Duration::from_millis(random.below(200) as u64),
            _ => Duration::ZERO,
        };
    }
    if let Some((filter, qos)) = habits.flapping
        && random.below(1_000) < 5
    {
        if client.wants(filter) {
            client.unsubscribe(filter);
        } else {
            client.subscribe(filter, qos);
        }
    }
    if !habits.topics.is_empty() && random.below(1_000) < habits.publishes * 2 {
        for _ in 0..=random.below(4) {
            if client.outstanding() < WINDOW {
                publish(client, habits, random);
            }
        }
    }
    None
}

fn publish(client: &mut Client, habits: &Habits, random: &mut Random) {
    let topic = random.pick(&habits.topics);
    let qos = random.pick(&[QoS::AtLeastOnce, QoS::ExactlyOnce]);
    if habits.retains && random.chance(10) {
        client.clear(topic, qos);
    } else {
        client.publish(topic, qos, habits.retains);
    }
}
