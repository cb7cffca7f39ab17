//! Everybody who takes part, each in a thread of its own, from the first connection to the verdict.
//!
//! [`run`](crate::run()) has a broker of its own for them. Whoever has one already, at an address that stays, starts them
//! alone, and writes down what is done to it. Leaves out what they do ([`life`](crate::life)).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use freshet_simulation::Random;

use crate::cast::{Habits, auditor, cast};
use crate::client::Client;
use crate::history::{History, What};
use crate::judge::{Rule, Thresholds, Verdict, judge, shortfalls};
use crate::life::{Phase, Stage, live};
use crate::pause::pause;
use crate::recorder::Recorder;

/// For how long nothing may happen before all is taken to be quiet.
const QUIET_FOR: Duration = Duration::from_secs(2);
/// How long it may take until all is quiet, and what is missing has come, unless somebody says otherwise.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Everything that happened.
    pub history: History,
    /// What it shows.
    pub verdict: Verdict,
}

/// Clients at work. They go when this is dropped.
#[derive(Debug)]
pub struct Crowd {
    address: SocketAddr,
    recorder: Arc<Recorder>,
    stage: Arc<Stage>,
    patience: Duration,
    members: Vec<Arc<Member>>,
    threads: Vec<JoinHandle<()>>,
}

/// Somebody who takes part.
#[derive(Debug)]
struct Member {
    habits: Habits,
    is_quiet: AtomicBool,
}

impl Crowd {
    /// Lets everybody loose on the broker at `address`, which has never been used before. `seed` draws what they do.
    ///
    /// The judge takes the broker to let a will wait no longer than a second when it moves a client itself.
    #[must_use]
    pub fn start(address: SocketAddr, seed: u64) -> Self {
        let mut crowd = Self {
            address,
            recorder: Arc::new(Recorder::new()),
            stage: Arc::default(),
            patience: DEFAULT_PATIENCE,
            members: Vec::new(),
            threads: Vec::new(),
        };
        crowd.record(What::Started);
        let mut random = Random::new(seed);
        for habits in cast() {
            crowd.add(habits, random.next());
        }
        crowd
    }

    /// Says how long it may take until all is quiet, and what is missing has come.
    pub(crate) fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn add(&mut self, habits: Habits, seed: u64) -> Arc<Member> {
        let member = Arc::new(Member {
            habits,
            is_quiet: AtomicBool::new(false),
        });
        let client = Client::new(member.habits.identity.clone(), self.address, Arc::clone(&self.recorder));
        let (lives, stage) = (Arc::clone(&member), Arc::clone(&self.stage));
        self.threads.push(thread::spawn(move || {
            live(client, &lives.habits, Random::new(seed), &stage, &lives.is_quiet);
        }));
        self.members.push(Arc::clone(&member));
        member
    }

    /// Writes down what is done to the broker: `Killed`, `Terminated` or `Paused` before, `Started` or `Continued` when
    /// all of it serves again.
    pub fn record(&self, what: What) {
        self.recorder.record(0, what);
    }

    /// How much has happened so far.
    #[must_use]
    pub fn events(&self) -> usize {
        self.recorder.len()
    }

    /// What of `thresholds` there would be too little of, were this the end. Wills come with the end.
    #[must_use]
    pub fn lacks(&self, thresholds: &Thresholds) -> Vec<String> {
        let mut history = self.recorder.history();
        history.rest_all();
        shortfalls(&history, thresholds)
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Lets all come to rest, and those with a will die, looks at what is retained, and judges. `say` is told how far it is.
    pub fn finish(mut self, thresholds: &Thresholds, say: &mut dyn FnMut(&str)) -> Outcome {
        let thresholds = &Thresholds {
            wills: self.members.iter().filter(|member| member.habits.has_will()).count(),
            ..thresholds.clone()
        };
        self.stage.set(Phase::Rest);
        say("clients come to rest");
        let is_all_there = self.wait_for_rest(&self.members, Some(thresholds), say);
        self.stage.set(Phase::Dying);
        say("those with a will die");
        // What has not come by now has had its time.
        self.wait_for_rest(&self.members, is_all_there.then_some(thresholds), say);
        let auditor = self.add(auditor(), 0);
        self.wait_for_rest(&[auditor], None, say);
        self.stage.set(Phase::Over);
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        let history = self.recorder.history();
        let verdict = judge(&history, thresholds);
        Outcome { history, verdict }
    }

    /// Waits until these have finished what they began, nothing comes any more, and, if somebody asks for that, nothing is
    /// missing. False: its time was over before, and what is missing is for the verdict.
    fn wait_for_rest(
        &self,
        members: &[Arc<Member>],
        thresholds: Option<&Thresholds>,
        say: &mut dyn FnMut(&str),
    ) -> bool {
        let until = Instant::now() + self.patience;
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
            if !thresholds.is_some_and(|thresholds| self.is_something_missing(thresholds)) {
                return true;
            }
            say("all is quiet, and something is missing: waiting for it");
            quiet_since = Instant::now() + 2 * QUIET_FOR;
        }
        say("waited long enough");
        false
    }

    /// Whether a verdict would miss something that may still come, were this the end.
    fn is_something_missing(&self, thresholds: &Thresholds) -> bool {
        let mut history = self.recorder.history();
        history.rest_all();
        let verdict = judge(&history, thresholds);
        let may_come = |rule| matches!(rule, Rule::NoLoss | Rule::Answered | Rule::Wills);
        verdict.violations.iter().any(|violation| may_come(violation.rule))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stage.set(Phase::Over);
        for thread in self.threads.drain(..) {
            // Whoever drops this before the end has an error already.
            let _ = thread.join();
        }
    }
}
