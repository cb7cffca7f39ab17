//! One run: a broker, everybody who takes part, what is done to the broker, the rest at the end, and the verdict.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use freshet_simulation::Random;

use crate::broker::{Broker, Folders, Setup};
use crate::cast::{Habits, auditor, cast};
use crate::client::Client;
use crate::history::{History, What};
use crate::judge::{Rule, Thresholds, Verdict, judge};
use crate::life::{Phase, Stage, live};
use crate::nemesis::{Nemesis, next_strike, strike};
use crate::pause::pause;
use crate::recorder::Recorder;

/// For how long nothing may happen before all is taken to be quiet.
const QUIET_FOR: Duration = Duration::from_secs(2);
/// How long it may take until all is quiet, and what is missing has come.
const REST_PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often a run says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(10);

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
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Everything that happened.
    pub history: History,
    /// What it shows.
    pub verdict: Verdict,
}

/// Runs until the broker has been killed as often as was asked for and all has come to rest. `say` is told how far it is.
///
/// # Errors
/// A broker that does not start, or not again.
pub fn run(plan: &Plan, say: &mut dyn FnMut(&str)) -> anyhow::Result<Outcome> {
    let recorder = Arc::new(Recorder::new());
    let mut broker = Broker::start(&plan.setup, &plan.folders)?;
    recorder.record(0, What::Started);
    let crowd = Crowd {
        address: broker.address,
        recorder: Arc::clone(&recorder),
        stage: Stage::default(),
    };
    let everybody: Vec<Member> = cast().into_iter().map(Member::new).collect();
    let auditor = Member::new(auditor());
    let mut random = Random::new(plan.seed);
    let ended = std::thread::scope(|scope| {
        for member in &everybody {
            let seed = random.next();
            let crowd = &crowd;
            scope.spawn(move || crowd.live(member, seed));
        }
        let struck = torment(plan, &mut broker, &mut random, &recorder, say);
        crowd.stage.set(Phase::Rest);
        if struck.is_ok() {
            say("clients come to rest");
            crowd.wait_for_rest(&everybody, plan, say);
            scope.spawn(|| crowd.live(&auditor, 0));
            crowd.wait_for_rest(std::slice::from_ref(&auditor), plan, say);
        }
        crowd.stage.set(Phase::Over);
        struck
    });
    ended?;
    let history = recorder.history();
    let verdict = judge(&history, &plan.thresholds);
    Ok(Outcome { history, verdict })
}

/// Does things to the broker until it is enough, or lets the time pass.
fn torment(
    plan: &Plan,
    broker: &mut Broker,
    random: &mut Random,
    recorder: &Recorder,
    say: &mut dyn FnMut(&str),
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut kills = 0;
    let mut next = next_strike(random);
    let mut next_word = begun + SAY_EVERY;
    while kills < plan.nemesis.kills || begun.elapsed() < plan.lasting {
        if kills < plan.nemesis.kills && Instant::now() >= next {
            kills += usize::from(strike(broker, &plan.nemesis, random, recorder)?);
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

/// Somebody who takes part.
#[derive(Debug)]
struct Member {
    habits: Habits,
    is_quiet: AtomicBool,
}

impl Member {
    const fn new(habits: Habits) -> Self {
        Self {
            habits,
            is_quiet: AtomicBool::new(false),
        }
    }
}

/// What all who take part have in common.
#[derive(Debug)]
struct Crowd {
    address: SocketAddr,
    recorder: Arc<Recorder>,
    stage: Stage,
}

impl Crowd {
    fn live(&self, member: &Member, seed: u64) {
        let identity = member.habits.identity.clone();
        let client = Client::new(identity, self.address, Arc::clone(&self.recorder));
        live(client, &member.habits, Random::new(seed), &self.stage, &member.is_quiet);
    }

    /// Waits until everybody has finished what they began, nothing comes any more, and nothing is missing. What is still
    /// missing when its time is over is for the verdict.
    fn wait_for_rest(&self, members: &[Member], plan: &Plan, say: &mut dyn FnMut(&str)) {
        let until = Instant::now() + REST_PATIENCE;
        let mut messages = 0;
        let mut quiet_since = Instant::now();
        while Instant::now() < until {
            pause(LOOK_EVERY);
            let now = self.recorder.messages();
            let is_quiet = members.iter().all(|member| member.is_quiet.load(Ordering::Acquire));
            if now != messages || !is_quiet {
                (messages, quiet_since) = (now, Instant::now());
            }
            if quiet_since.elapsed() < QUIET_FOR {
                continue;
            }
            if !self.is_something_missing(plan) {
                return;
            }
            say("all is quiet, and something is missing: waiting for it");
            quiet_since = Instant::now() + 2 * QUIET_FOR;
        }
        say("waited long enough");
    }

    /// Whether a verdict would find nothing but what may still come, were this the end.
    fn is_something_missing(&self, plan: &Plan) -> bool {
        let mut history = self.recorder.history();
        history.rest_all();
        let verdict = judge(&history, &plan.thresholds);
        let may_come = |rule| matches!(rule, Rule::NoLoss | Rule::Answered | Rule::Wills);
        verdict.is_refuted() && verdict.violations.iter().all(|violation| may_come(violation.rule))
    }
}
