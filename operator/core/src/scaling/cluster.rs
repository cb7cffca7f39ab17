//! The scaling of one cluster: asked once a second, by a clock that is an argument.
//!
//! [`ClusterScaler::tick`] takes what the proxies said, decides, and keeps what was decided until it is written: the count
//! that it asks for is what the next decision begins from, whether the API server has it yet or not. With `Observe` that
//! count is what would be there if it were written. With `Off` it only follows the load, for the sake of the warm pool, whose
//! size it decides in every mode where load is to. Somebody else who sets `replicas` is believed at once, and the next
//! decision begins from there. Leaves out who is asked and who writes (the operator's binary).

use std::time::Duration;

use freshet_operator_api::{DecisionStatus, NextScheduledStatus, ScalingMode, ScalingStatus, WarmStatus};
use freshet_scaling::{Decision, Pool, Scaler, Settings, StateError};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::fleet::{Fleet, Member, Part};
use super::shown::{show, time};
use crate::{labels, names};

/// Decisions that status lists.
const DECISIONS_MAX: usize = 5;
/// What is said of a count that somebody else has set.
const SET_BY_HAND: &str = "somebody else has set replicas, and load decides from there on, within scaling.min and \
                           scaling.max: set scaling.mode to Off to keep a number";
/// Key of the scaler's memory in its ConfigMap.
const STATE_KEY: &str = "state";
/// How long a proxy takes to start where none was seen to.
const DEFAULT_CAPACITY_DELAY: Duration = Duration::from_secs(45);
/// Nothing that was measured of starts is taken to be longer.
const CAPACITY_DELAY_MAX: Duration = Duration::from_secs(600);

/// Decides how many proxies of one cluster serve.
#[derive(Debug, Clone)]
pub struct ClusterScaler {
    scaler: Scaler,
    settings: Settings,
    /// What the proxies have said.
    pub fleet: Fleet,
    mode: ScalingMode,
    /// What is asked for, or would be.
    count: u32,
    /// `replicas` at the last look.
    seen: Option<u32>,
    /// Proxies that are to wait, where load decides that.
    warm: Option<u32>,
    shown: ScalingStatus,
}

/// What a decision is made from, beside what the proxies have said.
#[derive(Debug, Clone, Copy)]
pub struct Tick<'a> {
    /// How to decide.
    pub settings: &'a Settings,
    /// As in the resource; `Observe` instead of `Scale` while that is paused.
    pub mode: ScalingMode,
    /// How large the warm pool may be.
    pub pool: Pool,
    /// `spec.proxy.replicas`, as far as it is known to be stored.
    pub replicas: u32,
    /// The proxies that there are.
    pub members: &'a [Member],
    /// On the clock of [`Fleet::take`].
    pub at: Duration,
    /// Since the Unix epoch.
    pub now: Duration,
}

/// What came of a tick.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// A decision was made.
    pub decision: Option<Decision>,
    /// `replicas` that is to be written.
    pub goal: Option<u32>,
    /// Another number of proxies is to wait.
    pub resizes_pool: bool,
    /// Somebody else has set `replicas`, which with `Scale` is worth a word.
    pub is_set_by_hand: bool,
    /// Status would say something else than before.
    pub has_news: bool,
}

impl ClusterScaler {
    /// Goes on from what was remembered and shown, or begins anew. The error says why the former was not possible.
    pub fn new(
        settings: &Settings,
        state: Option<&str>,
        shown: Option<&ScalingStatus>,
    ) -> (Self, Result<(), StateError>) {
        let (scaler, outcome) = match state.map(|state| Scaler::restore(settings.clone(), state)) {
            Some(Ok(scaler)) => (scaler, Ok(())),
            Some(Err(error)) => (Scaler::new(settings.clone()), Err(error)),
            None => (Scaler::new(settings.clone()), Ok(())),
        };
        let shown = shown.cloned().unwrap_or_default();
        let scaler = Self {
            scaler,
            settings: settings.clone(),
            fleet: Fleet::default(),
            mode: shown.mode,
            count: shown.desired,
            seen: None,
            warm: shown.warm.as_ref().map(|warm| warm.desired),
            shown,
        };
        (scaler, outcome)
    }

    /// Decides. To be called about once a second.
    pub fn tick(&mut self, tick: &Tick<'_>) -> Turn {
        if *tick.settings != self.settings {
            self.settings = tick.settings.clone();
            self.scaler.set_settings(self.settings.clone());
        }
        let by_hand = self.heed(tick);
        self.fleet.keep_only(tick.members);
        let sample = self.fleet.sample(tick.members, tick.at, tick.now);
        self.scaler.observe(&sample);
        let decision = if self.mode == ScalingMode::Off {
            self.scaler.look(tick.now, self.count);
            None
        } else {
            let decision = self.scaler.decide(tick.now, self.count);
            (decision.to != self.count).then_some(decision)
        };
        let mut shown = show(
            &self.scaler.view(tick.now),
            self.mode,
            decision.as_ref().map_or(self.count, |decision| decision.to),
            self.settings.publish_round_trip_p99_ms,
            sample.proxies,
            tick.now,
            &self.shown,
        );
        shown.next_scheduled = self
            .settings
            .next_scheduled(tick.now)
            .map(|(entry, times)| NextScheduledStatus {
                name: entry.name.clone(),
                at: time(times.from),
                min: entry.min,
            });
        if let Some(from) = by_hand {
            note(&mut shown, set_by_hand(from, tick.replicas, tick.now));
        }
        if let Some(decision) = &decision {
            self.count = decision.to;
            note(&mut shown, decided(decision));
        }
        let waited = self.warm;
        shown.warm = self.decide_pool(tick);
        let has_news = shown != self.shown;
        self.shown = shown;
        Turn {
            decision,
            goal: self.goal(),
            resizes_pool: self.warm != waited,
            is_set_by_hand: by_hand.is_some(),
            has_news,
        }
    }

    /// Decides how many proxies wait, where load is to decide that.
    fn decide_pool(&mut self, tick: &Tick<'_>) -> Option<WarmStatus> {
        if !tick.pool.is_auto {
            self.warm = None;
            return None;
        }
        // What is only advised serves nobody.
        let active = if self.mode == ScalingMode::Scale {
            self.count
        } else {
            tick.replicas
        };
        let there = self.warm.unwrap_or_else(|| {
            let waiting = tick.members.iter().filter(|member| member.part == Part::Waiting);
            u32::try_from(waiting.count()).unwrap_or(u32::MAX)
        });
        let decision = self.scaler.decide_pool(tick.now, tick.pool, active, there);
        self.warm = Some(decision.proxies);
        Some(WarmStatus {
            desired: decision.proxies,
            reason: decision.reason.to_string(),
        })
    }

    /// Proxies that are to wait, where load decides that.
    pub fn warm(&self) -> Option<u32> {
        self.warm
    }

    /// What is to be written to `replicas`, if that is something else than what is there.
    pub fn goal(&self) -> Option<u32> {
        (self.mode == ScalingMode::Scale && self.seen.is_some_and(|seen| seen != self.count)).then_some(self.count)
    }

    /// `replicas` was written.
    pub fn applied(&mut self, replicas: u32) {
        self.seen = Some(replicas);
        let is_it = |decision: &&mut DecisionStatus| decision.to == replicas && !decision.applied;
        if let Some(decision) = self.shown.decisions.last_mut().filter(is_it) {
            decision.applied = true;
        }
        self.shown.last_decision = self.shown.decisions.last().cloned();
    }

    /// What status is to say.
    pub fn shown(&self) -> &ScalingStatus {
        &self.shown
    }

    /// What another process needs to go on from here.
    pub fn state(&self) -> String {
        self.scaler.state()
    }

    /// Takes up a count or a mode that somebody else has set. Returns what was asked for before, if that was for the operator
    /// to say.
    fn heed(&mut self, tick: &Tick<'_>) -> Option<u32> {
        let scales = self.mode == ScalingMode::Scale && tick.mode == ScalingMode::Scale;
        // What is asked for may have been stored by the reconcile a moment ago, which says so afterwards.
        let is_new = self.seen.is_some_and(|seen| seen != tick.replicas) && tick.replicas != self.count;
        let before = (scales && is_new).then_some(self.count);
        let is_first = self.seen.is_none();
        let goes_on = is_first && tick.mode == self.mode && self.mode == ScalingMode::Observe && self.count > 0;
        let is_changed = self.seen != Some(tick.replicas) || self.mode != tick.mode;
        if is_changed && !goes_on {
            self.count = tick.replicas;
        }
        self.mode = tick.mode;
        self.seen = Some(tick.replicas);
        before
    }
}

fn decided(decision: &Decision) -> DecisionStatus {
    DecisionStatus {
        at: time(decision.at),
        from: decision.from,
        to: decision.to,
        applied: false,
        reason: decision.reason.to_string(),
        by_hand: false,
    }
}

fn set_by_hand(from: u32, to: u32, now: Duration) -> DecisionStatus {
    DecisionStatus {
        at: time(now),
        from,
        to,
        applied: true,
        reason: SET_BY_HAND.to_owned(),
        by_hand: true,
    }
}

fn note(shown: &mut ScalingStatus, decision: DecisionStatus) {
    shown.decisions.push(decision);
    let surplus = shown.decisions.len().saturating_sub(DECISIONS_MAX);
    shown.decisions.drain(..surplus);
    shown.last_decision = shown.decisions.last().cloned();
}

/// How long a proxy takes from its creation until it is ready: the middle one of those that are there and have not been
/// started again.
pub fn capacity_delay<'a>(proxies: impl IntoIterator<Item = &'a Pod>) -> Duration {
    let mut starts: Vec<Duration> = proxies.into_iter().filter_map(start_of).collect();
    starts.sort();
    let middle = starts.get(starts.len() / 2).copied();
    middle.map_or(DEFAULT_CAPACITY_DELAY, |start| {
        start.clamp(Duration::from_secs(1), CAPACITY_DELAY_MAX)
    })
}

fn start_of(pod: &Pod) -> Option<Duration> {
    let status = pod.status.as_ref()?;
    if status
        .container_statuses
        .iter()
        .flatten()
        .any(|container| container.restart_count > 0)
    {
        return None;
    }
    let ready = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    let since = ready.last_transition_time.as_ref()?.0.as_second();
    let born = pod.metadata.creation_timestamp.as_ref()?.0.as_second();
    Some(Duration::from_secs(u64::try_from(since - born).ok()?))
}

/// The ConfigMap that keeps the scaler's memory. It has no label of what is watched: nobody but its writer reads it.
pub fn history_config_map(cluster: &str, namespace: &str, owner: OwnerReference, state: String) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(names::scaling_history(cluster)),
            namespace: Some(namespace.to_owned()),
            labels: Some([(labels::CLUSTER.to_owned(), cluster.to_owned())].into()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some([(STATE_KEY.to_owned(), state)].into()),
        ..ConfigMap::default()
    }
}

/// The memory in a ConfigMap, if it is that of the cluster with this UID.
pub fn history_of<'a>(config_map: &'a ConfigMap, cluster_uid: &str) -> Option<&'a str> {
    let owners = config_map.metadata.owner_references.as_deref().unwrap_or_default();
    let is_owned = owners.iter().any(|owner| owner.uid == cluster_uid);
    let data = config_map.data.as_ref().filter(|_| is_owned)?;
    data.get(STATE_KEY).map(String::as_str)
}

#[cfg(test)]
mod tests;
