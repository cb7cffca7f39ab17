//! One run: a broker, everybody who takes part, what is done to the broker, the rest at the end, and the verdict.

use std::time::{Duration, Instant};

use freshet_simulation::Random;

use crate::broker::{Broker, Folders, Setup};
use crate::crowd::{Crowd, Outcome};
use crate::judge::Thresholds;
use crate::nemesis::{Nemesis, Tour, next_strike, strike};
use crate::pause::pause;
use crate::recorder::Recorder;

/// How often it is looked whether the broker is to be struck.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often a run says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// How often it is looked whether enough has happened.
const ENOUGH_EVERY: Duration = Duration::from_secs(2);

/// What is run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Draws what clients do, and when what is done to the broker. Threads and processes still do as they like.
    pub seed: u64,
    /// The broker's processes.
    pub setup: Setup,
    /// Where they write.
    pub folders: Folders,
    /// How long clients live at least.
    pub lasting: Duration,
    /// What is done to the broker.
    pub nemesis: Nemesis,
    /// What has to have happened for the run to show anything.
    pub thresholds: Thresholds,
    /// The mistake that the broker's programs make, `PART:NAME`, if they were built for that.
    pub planted: Option<String>,
    /// How long it may take until enough has happened, and until what is missing at the end has come.
    pub patience: Duration,
}

/// Runs until the broker has been killed as often as was asked for, enough has happened and all has come to rest. `say` is told how far it is.
///
/// # Errors
/// A broker that does not start, or not again.
pub fn run(plan: &Plan, say: &mut dyn FnMut(&str)) -> anyhow::Result<Outcome> {
    let mut broker = Broker::start(&plan.setup, &plan.folders, plan.planted.as_deref())?;
    let mut random = Random::new(plan.seed);
    let fault_points = plan.nemesis.named_fault_points(&broker)?;
    let crowd = Crowd::start(broker.address, random.next()).with_patience(plan.patience);
    let tour = Tour::new(&fault_points, &mut random);
    torment(plan, &mut broker, tour, &mut random, crowd.recorder(), say)?;
    let thresholds = Thresholds {
        fault_points,
        ..plan.thresholds.clone()
    };
    wait_for_enough(&crowd, &thresholds, plan.patience, say);
    Ok(crowd.finish(&thresholds, say))
}

/// Lets clients live on until enough has happened: how much they get done is up to the machine. What there is too little
/// of when its time is over is for the verdict.
fn wait_for_enough(crowd: &Crowd, thresholds: &Thresholds, patience: Duration, say: &mut dyn FnMut(&str)) {
    let until = Instant::now() + patience;
    while Instant::now() < until {
        let lacks = crowd.lacks(thresholds);
        if lacks.is_empty() {
            return;
        }
        say(&format!("too little has happened so far: {}", lacks.join("; ")));
        pause(ENOUGH_EVERY);
    }
}

/// Does things to the broker until it is enough, or lets the time pass.
fn torment(
    plan: &Plan,
    broker: &mut Broker,
    mut tour: Tour,
    random: &mut Random,
    recorder: &Recorder,
    say: &mut dyn FnMut(&str),
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut kills = 0;
    let mut next = next_strike(random);
    let mut next_word = begun + SAY_EVERY;
    while kills < plan.nemesis.kills || tour.goes_on() || begun.elapsed() < plan.lasting {
        if (kills < plan.nemesis.kills || tour.goes_on()) && Instant::now() >= next {
            kills += usize::from(strike(broker, &plan.nemesis, &mut tour, random, recorder)?);
            next = next_strike(random);
        }
        if Instant::now() >= next_word {
            say(&format!("{kills} kills, {} events", recorder.len()));
            next_word += SAY_EVERY;
        }
        pause(LOOK_EVERY);
    }
    Ok(())
}
