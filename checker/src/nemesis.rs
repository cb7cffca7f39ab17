//! What is done to the broker: killed at any time or at a named point, told to stop, kept from running.

mod tour;

use std::time::{Duration, Instant};

use freshet_simulation::Random;

use crate::broker::{Broker, Part};
use crate::history::{Killing, What};
use crate::pause::pause;
use crate::recorder::Recorder;
pub(crate) use tour::Tour;

/// How long a process may take to reach its fault point before it is killed anyway.
const FAULT_POINT_PATIENCE: Duration = Duration::from_secs(5);
/// Stands for all fault points of the programs.
const ALL_FAULT_POINTS: &str = "all";

/// How hard it is made for the broker.
#[derive(Debug, Clone, Default)]
pub struct Nemesis {
    /// Kills until the run may end; 0: nothing is done to the broker at all.
    pub kills: usize,
    /// Which processes it is about, by name; empty: all, sometimes together.
    pub parts: Vec<String>,
    /// Names of fault points, or `all`: each has to be reached. Empty: the broker is built without.
    pub fault_points: Vec<String>,
}

impl Nemesis {
    /// The names of the fault points that it is about.
    ///
    /// # Errors
    /// Programs that were built without.
    pub(crate) fn named_fault_points(&self, broker: &Broker) -> anyhow::Result<Vec<String>> {
        if self.fault_points == [ALL_FAULT_POINTS] {
            return broker.fault_points();
        }
        Ok(self.fault_points.clone())
    }
}

/// Does one thing to the broker, drawn from `random`, and sets right what it has done. True: it was a kill.
///
/// # Errors
/// A broker that does not start again, or does not end.
pub(crate) fn strike(
    broker: &mut Broker,
    nemesis: &Nemesis,
    tour: &mut Tour,
    random: &mut Random,
    recorder: &Recorder,
) -> anyhow::Result<bool> {
    let is_meant = |name: &str| nemesis.parts.is_empty() || nemesis.parts.iter().any(|part| part == name);
    let mut meant: Vec<_> = broker.parts.iter_mut().filter(|part| is_meant(part.name)).collect();
    let chosen = random.below(meant.len());
    let Some(part) = meant.get_mut(chosen) else {
        return Ok(false);
    };
    let name = part.name.to_owned();
    let done = random.below(100);
    if done < 8 {
        recorder.record(0, What::Paused { part: name.clone() });
        part.pause();
        pause(Duration::from_millis(100 + random.below(1_500) as u64));
        part.go_on();
        recorder.record(0, What::Continued { part: name });
        return Ok(false);
    }
    if done < 12 {
        recorder.record(0, What::Terminated { part: name });
        part.terminate()?;
        part.start(None)?;
        recorder.record(0, What::Started);
        return Ok(false);
    }
    recorder.record(
        0,
        What::Killed {
            part: name.clone(),
            how: Killing::Signal,
        },
    );
    part.kill();
    // Now and then both: neither can help the other.
    if random.chance(20) {
        meant.into_iter().for_each(Part::kill);
    }
    // Sometimes long enough for clients to have tried in vain.
    pause(Duration::from_millis(random.pick(&[0, 0, 50, 300])));
    let mut at_fault_point = None;
    for part in &mut broker.parts {
        if !part.has_ended() {
            continue;
        }
        let point = if at_fault_point.is_none() && part.has_fault_points {
            tour.next(random)
        } else {
            None
        };
        let said = point.as_ref().map(|(name, nth)| format!("{name}:{nth}"));
        part.start(said.as_deref())?;
        at_fault_point = at_fault_point.or(point.map(|(point, _)| (part.name, point)));
    }
    recorder.record(0, What::Started);
    if let Some((name, point)) = at_fault_point {
        let has_ended = end_at(broker, name, &point, recorder)?;
        tour.tried(&point, has_ended);
    }
    Ok(true)
}

/// Waits until a process has ended at its fault point, and starts it again. False: it had to be killed.
fn end_at(broker: &mut Broker, name: &str, point: &str, recorder: &Recorder) -> anyhow::Result<bool> {
    let Some(part) = broker.parts.iter_mut().find(|part| part.name == name) else {
        return Ok(false);
    };
    let has_ended = part.ends_within(FAULT_POINT_PATIENCE);
    let how = if has_ended {
        Killing::FaultPoint(point.to_owned())
    } else {
        Killing::Signal
    };
    recorder.record(
        0,
        What::Killed {
            part: name.to_owned(),
            how,
        },
    );
    part.kill();
    part.start(None)?;
    recorder.record(0, What::Started);
    Ok(has_ended)
}

/// When the broker is struck next.
pub(crate) fn next_strike(random: &mut Random) -> Instant {
    Instant::now() + Duration::from_millis(300 + random.below(2_200) as u64)
}
