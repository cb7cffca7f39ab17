//! Decides how many proxies clusters need: once a second every proxy is asked for its load, and the scaler of each cluster
//! (`freshet_operator_core::scaling`) for its decision.
//!
//! All proxies are asked, those of clusters that are not scaled as well: who does not answer may be dead ([`losses`]).
//! Runs beside the reconciles, on the replica that leads. What was decided waits here until the cluster's reconcile, which
//! is asked for, has written it: that stays the only writer of everything. What the scalers remember is kept in a ConfigMap
//! for each cluster, which this writes itself, seldom. What the proxies say also goes to those who move clients
//! (`crate::moves`), whether the cluster is scaled or not.

mod history;
mod loads;
mod losses;
mod round;
mod scrape;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use freshet_load::Load;
use freshet_operator_api::{MqttCluster, Scaling, ScalingMode, ScalingStatus, WarmStatus};
use freshet_operator_core::loss::Testimonies;
use freshet_operator_core::rollout::Loads;
use freshet_operator_core::scaling::cluster::{ClusterScaler, Tick, Turn, capacity_delay};
use freshet_operator_core::scaling::{read_pool, read_scaling};
use freshet_scaling::Settings;
use futures::{StreamExt, stream};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::metrics::Metrics;
use crate::moves::Moves;
use crate::watch::Stores;
use crate::write::Writer;
use history::Saving;
use loads::LatestLoads;
use losses::{Losses, doubted};
use round::{Looked, ask, is_followed, look};
use scrape::Scraper;

/// How often proxies are asked and decisions made.
const PERIOD: Duration = Duration::from_secs(1);
/// Memories that are written at once when the process ends.
const SAVED_AT_ONCE: usize = 16;
/// How seldom a reconcile is asked for that would only write other numbers to the status.
const NUMBERS_EVERY: Duration = Duration::from_secs(15);
/// Clusters whose reconcile is asked for and has not been taken up; those beyond it are named again a second later.
const NUDGES_MAX: usize = 1_024;

/// Names clusters that want a reconcile.
pub(crate) type Nudges = mpsc::Receiver<ObjectRef<MqttCluster>>;

/// The scalers of all clusters of one watch.
#[derive(Clone)]
pub(crate) struct Scalings(Arc<Shared>);

struct Shared {
    moves: Moves,
    clusters: Mutex<HashMap<ObjectRef<MqttCluster>, Scaled>>,
    nudges: mpsc::Sender<ObjectRef<MqttCluster>>,
    losses: Losses,
    loads: LatestLoads,
    /// Clusters that are scaled, as last said: other watches count theirs in the same gauge.
    scaled: AtomicI64,
    /// Proxies that are to wait, of all clusters, as last said.
    warm: AtomicI64,
    /// What times of answers are counted from.
    start: Instant,
}

/// One cluster whose load is followed.
struct Scaled {
    uid: String,
    /// None until what was remembered has been read.
    scaler: Option<Box<ClusterScaler>>,
    /// When it was last tried to read it.
    tried: Option<Instant>,
    saving: Saving,
    /// Settings as they were read last, and of what; none where they say what they should not.
    settings: Option<(Scaling, Option<Settings>)>,
    /// `replicas` that was written, and as of which version of the resource.
    written: Option<(u64, u32)>,
    /// A reconcile is to be asked for because of a decision, or of numbers.
    owes: Owes,
    nudged: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owes {
    Nothing,
    Numbers,
    Decision,
}

impl Scalings {
    /// Scalers of no cluster yet, and where they name clusters that want a reconcile.
    pub(crate) fn new(moves: Moves) -> (Self, Nudges) {
        let (nudges, nudged) = mpsc::channel(NUDGES_MAX);
        let shared = Shared {
            moves,
            clusters: Mutex::default(),
            nudges,
            losses: Losses::default(),
            loads: LatestLoads::default(),
            scaled: AtomicI64::new(0),
            warm: AtomicI64::new(0),
            start: Instant::now(),
        };
        (Self(Arc::new(shared)), nudged)
    }

    /// The resource with the `replicas` that was written last, as long as the watch has not seen that.
    pub(crate) fn with_written_replicas<'a>(&self, resource: &'a MqttCluster) -> Cow<'a, MqttCluster> {
        let key = ObjectRef::from_obj(resource);
        let clusters = self.clusters();
        match clusters.get(&key).and_then(|scaled| scaled.unseen(resource)) {
            Some(replicas) => {
                let mut newer = resource.clone();
                newer.spec.proxy.replicas = replicas;
                Cow::Owned(newer)
            }
            None => Cow::Borrowed(resource),
        }
    }

    /// The version of the resource as of which `replicas` was written last.
    pub(crate) fn written_version(&self, resource: &MqttCluster) -> Option<u64> {
        let clusters = self.clusters();
        Some(clusters.get(&ObjectRef::from_obj(resource))?.written?.0)
    }

    /// `replicas` that is to be written, if that is another one than is stored.
    pub(crate) fn goal(&self, resource: &MqttCluster) -> Option<u32> {
        if resource.spec.paused || resource.spec.proxy.scaling.mode != ScalingMode::Scale {
            return None;
        }
        self.with_scaler(resource, |scaler| scaler.goal())
            .flatten()
            .filter(|goal| *goal != resource.spec.proxy.replicas)
    }

    /// `replicas` was written, which made this version of the resource.
    pub(crate) fn applied(&self, resource: &MqttCluster, replicas: u32, version: Option<u64>) {
        let mut clusters = self.clusters();
        if let Some(scaled) = clusters.get_mut(&ObjectRef::from_obj(resource)) {
            scaled.written = version.map(|version| (version, replicas));
            if let Some(scaler) = &mut scaled.scaler {
                scaler.applied(replicas);
            }
        }
    }

    /// What status is to say; nothing of a cluster that is not looked at.
    pub(crate) fn shown(&self, resource: &MqttCluster) -> Option<ScalingStatus> {
        // One that was turned off a moment ago may not have been forgotten yet.
        if !is_followed(resource) {
            return None;
        }
        self.with_scaler(resource, |scaler| scaler.shown().clone())
    }

    /// How many proxies are to wait; nothing where load does not decide that, or nothing is known of it yet.
    pub(crate) fn warm(&self, resource: &MqttCluster) -> Option<u32> {
        self.with_scaler(resource, ClusterScaler::warm).flatten()
    }

    /// What was heard of proxies that are doubted.
    pub(crate) fn testimonies(&self, resource: &MqttCluster) -> Testimonies {
        self.0.losses.known(&ObjectRef::from_obj(resource))
    }

    /// What the proxies of a cluster said last.
    pub(crate) fn loads(&self, resource: &MqttCluster) -> Loads {
        self.0.loads.known(&ObjectRef::from_obj(resource))
    }

    fn with_scaler<T>(&self, resource: &MqttCluster, read: impl FnOnce(&ClusterScaler) -> T) -> Option<T> {
        let clusters = self.clusters();
        let scaled = clusters.get(&ObjectRef::from_obj(resource))?;
        let is_it = resource.metadata.uid.as_deref() == Some(scaled.uid.as_str());
        scaled.scaler.as_deref().filter(|_| is_it).map(read)
    }

    fn clusters(&self) -> MutexGuard<'_, HashMap<ObjectRef<MqttCluster>, Scaled>> {
        self.0.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks and decides once a second, for as long as the process leads.
    pub(crate) async fn run(self, stores: Arc<Stores>, writer: Writer, metrics: Metrics) {
        let scraper = Arc::new(Scraper::new(metrics.clone()));
        let mut seconds = interval(PERIOD);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            seconds.tick().await;
            if !stores.is_ready() {
                continue;
            }
            let began = Instant::now();
            let looked = look(&stores);
            self.match_clusters(&looked, &writer);
            if looked.is_empty() {
                scraper.keep_only(std::iter::empty());
                self.count(&looked, &metrics);
                continue;
            }
            let doubted = doubted(&looked, &scraper);
            let (answers, ()) = tokio::join!(ask(&scraper, &looked), self.hear(doubted));
            self.0.loads.take(&looked, &answers);
            self.tell_moves(&looked, &answers);
            self.take(&looked, answers);
            self.decide(&looked, &metrics);
            self.nudge_for_moves(&looked);
            self.save_one(&looked, &writer);
            metrics.scaling_round(began.elapsed());
            self.count(&looked, &metrics);
        }
    }

    /// Says how many clusters are scaled, and how many proxies are to wait in all.
    fn count(&self, looked: &[Looked], metrics: &Metrics) {
        let scaled = looked.iter().filter(|looked| looked.is_scaled()).count();
        let scaled = i64::try_from(scaled).unwrap_or(i64::MAX);
        metrics.scaled_changed(self.0.scaled.swap(scaled, Ordering::Relaxed), scaled);
        let of = |looked: &Looked| {
            let warm = &looked.resource.spec.proxy.warm;
            i64::from(self.warm(&looked.resource).unwrap_or(warm.min))
        };
        let now = looked.iter().map(of).sum();
        let before = self.0.warm.swap(now, Ordering::Relaxed);
        metrics.warm_changed(before, now);
    }

    /// Hears the second witness, and asks for the reconciles that follow from what it says.
    async fn hear(&self, doubted: Vec<losses::Doubted>) {
        for key in self.0.losses.hear(doubted).await {
            // Full: it is named again in a second.
            let _ = self.0.nudges.try_send(key);
        }
    }

    /// Begins with clusters that are new, and forgets those that are not scaled any more.
    fn match_clusters(&self, looked: &[Looked], writer: &Writer) {
        let all: HashSet<&ObjectRef<MqttCluster>> = looked.iter().map(|looked| &looked.key).collect();
        self.0.moves.keep_only(&all);
        let scaled = || looked.iter().filter(|looked| is_followed(&looked.resource));
        let mut clusters = self.clusters();
        let keys: HashSet<&ObjectRef<MqttCluster>> = scaled().map(|looked| &looked.key).collect();
        clusters.retain(|key, _| keys.contains(key));
        for looked in scaled() {
            let uid = looked.resource.uid().unwrap_or_default();
            let scaled = clusters.entry(looked.key.clone()).or_insert_with(|| Scaled::new(&uid));
            if scaled.uid != uid {
                *scaled = Scaled::new(&uid);
            }
            if scaled.scaler.is_none() && scaled.is_to_be_read() {
                scaled.tried = Some(Instant::now());
                tokio::spawn(history::read(
                    self.clone(),
                    writer.client().clone(),
                    Arc::clone(&looked.resource),
                ));
            }
        }
    }

    /// Passes on what the proxies say to those who move clients by it.
    fn tell_moves(&self, looked: &[Looked], answers: &[(usize, String, Load)]) {
        let loads: HashMap<&str, &Load> = answers.iter().map(|(_, uid, load)| (uid.as_str(), load)).collect();
        for looked in looked {
            for member in &looked.members {
                let load = loads.get(member.uid.as_str()).copied();
                self.0.moves.take(&looked.key, &member.uid, load);
            }
        }
    }

    /// Asks for the reconciles of clusters whose clients move, or are to.
    fn nudge_for_moves(&self, looked: &[Looked]) {
        for looked in looked {
            if self.0.moves.tick(&looked.key, &looked.resource, &looked.pods) {
                // One that finds no room is asked for a second later.
                let _ = self.0.nudges.try_send(looked.key.clone());
            }
        }
    }

    /// Begins with what was remembered, if there is anything.
    fn begin(&self, resource: &MqttCluster, state: Option<&str>) {
        let Ok(settings) = read_scaling(&resource.spec.proxy.scaling, Duration::ZERO) else {
            return;
        };
        let mut clusters = self.clusters();
        let Some(scaled) = clusters.get_mut(&ObjectRef::from_obj(resource)) else {
            return;
        };
        let shown = resource.status.as_ref().and_then(|status| status.scaling.as_ref());
        let (scaler, outcome) = ClusterScaler::new(&settings, state, shown);
        let cluster = resource.name_any();
        match (outcome, state) {
            (Err(error), _) => tracing::warn!(cluster, %error, "the scaler begins without what was remembered"),
            (Ok(()), Some(_)) => tracing::info!(cluster, "the scaler goes on from what was remembered"),
            (Ok(()), None) => tracing::info!(cluster, "the scaler begins"),
        }
        scaled.scaler = Some(Box::new(scaler));
        scaled.saving = Saving::begin(state.is_some());
    }

    fn take(&self, looked: &[Looked], answers: Vec<(usize, String, Load)>) {
        let at = self.0.start.elapsed();
        let mut clusters = self.clusters();
        for (index, uid, load) in answers {
            let scaled = looked.get(index).and_then(|looked| clusters.get_mut(&looked.key));
            if let Some(scaler) = scaled.and_then(|scaled| scaled.scaler.as_mut()) {
                scaler.fleet.take(&uid, load, at);
            }
        }
    }

    fn decide(&self, looked: &[Looked], metrics: &Metrics) {
        let at = self.0.start.elapsed();
        let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) else {
            return;
        };
        let mut clusters = self.clusters();
        for looked in looked {
            let Some(scaled) = clusters.get_mut(&looked.key) else {
                continue;
            };
            let replicas = scaled
                .unseen(&looked.resource)
                .unwrap_or(looked.resource.spec.proxy.replicas);
            let delay = capacity_delay(looked.pods.iter().map(Arc::as_ref));
            let scaling = &looked.resource.spec.proxy.scaling;
            scaled.read_settings(scaling, delay);
            // The resource's condition says what is wrong with the settings.
            let (Some(scaler), Some((_, Some(settings)))) = (&mut scaled.scaler, &scaled.settings) else {
                continue;
            };
            let turn = scaler.tick(&Tick {
                settings,
                mode: match scaling.mode {
                    ScalingMode::Scale if looked.resource.spec.paused => ScalingMode::Observe,
                    mode => mode,
                },
                pool: read_pool(&looked.resource.spec.proxy.warm),
                replicas,
                members: &looked.members,
                at,
                now,
            });
            tell(looked, &turn, scaler.shown().warm.as_ref(), metrics);
            scaled.owe(&turn);
            scaled.nudge(&looked.key, &self.0.nudges);
        }
    }

    /// Writes what all scalers remember, for the process that goes on from here. For the end of this one.
    pub(crate) async fn save_all(&self, stores: &Stores, writer: &Writer) {
        let writes: Vec<_> = {
            let clusters = self.clusters();
            let write = |resource: Arc<MqttCluster>| {
                let scaled = clusters.get(&ObjectRef::from_obj(resource.as_ref()))?;
                let is_it = resource.metadata.uid.as_deref() == Some(scaled.uid.as_str());
                let state = scaled.scaler.as_ref().filter(|_| is_it)?.state();
                Some(history::write(writer.clone(), resource, state))
            };
            stores.clusters.state().into_iter().filter_map(write).collect()
        };
        stream::iter(writes)
            .buffer_unordered(SAVED_AT_ONCE)
            .collect::<()>()
            .await;
    }

    /// Writes what one scaler remembers, if that is due: one in each second, so that many do not come at once.
    fn save_one(&self, looked: &[Looked], writer: &Writer) {
        let mut clusters = self.clusters();
        for looked in looked {
            let Some(scaled) = clusters.get_mut(&looked.key).filter(|scaled| scaled.saving.is_due()) else {
                continue;
            };
            if let Some(scaler) = &scaled.scaler {
                let state = scaler.state();
                scaled.saving = Saving::done();
                tokio::spawn(history::write(writer.clone(), Arc::clone(&looked.resource), state));
                return;
            }
        }
    }
}

fn tell(looked: &Looked, turn: &Turn, warm: Option<&WarmStatus>, metrics: &Metrics) {
    let (cluster, namespace) = (&looked.key.name, looked.key.namespace.as_deref().unwrap_or_default());
    if let Some(warm) = warm.filter(|_| turn.resizes_pool) {
        let (desired, reason) = (warm.desired, &warm.reason);
        tracing::info!(cluster, namespace, desired, reason, "size of the warm pool decided");
    }
    let Some(decision) = &turn.decision else { return };
    let is_written = turn.goal.is_some();
    tracing::info!(
        cluster,
        namespace,
        from = decision.from,
        to = decision.to,
        is_written,
        reason = %decision.reason,
        "scaling decided"
    );
    metrics.scaling_decided(decision.to > decision.from, is_written);
}

impl Scaled {
    fn new(uid: &str) -> Self {
        Self {
            uid: uid.to_owned(),
            scaler: None,
            tried: None,
            saving: Saving::done(),
            settings: None,
            written: None,
            owes: Owes::Nothing,
            nudged: None,
        }
    }

    /// Reads the settings when they have changed: a schedule takes longer than a decision.
    fn read_settings(&mut self, scaling: &Scaling, delay: Duration) {
        if self.settings.as_ref().is_none_or(|(of, _)| of != scaling) {
            self.settings = Some((scaling.clone(), read_scaling(scaling, delay).ok()));
        }
        if let Some((_, Some(settings))) = &mut self.settings {
            settings.capacity_delay = delay;
        }
    }

    /// Whether to try, or to try again.
    fn is_to_be_read(&self) -> bool {
        self.tried.is_none_or(|tried| tried.elapsed() >= history::READ_AGAIN)
    }

    /// `replicas` that was written and that this view of the resource does not have yet.
    fn unseen(&self, resource: &MqttCluster) -> Option<u32> {
        let (version, replicas) = self.written?;
        let seen: u64 = resource.resource_version()?.parse().ok()?;
        (seen < version && resource.metadata.uid.as_deref() == Some(self.uid.as_str())).then_some(replicas)
    }

    fn owe(&mut self, turn: &Turn) {
        let owed = if turn.goal.is_some() || turn.decision.is_some() || turn.resizes_pool || turn.is_set_by_hand {
            Owes::Decision
        } else if turn.has_news {
            Owes::Numbers
        } else {
            Owes::Nothing
        };
        self.owes = self.owes.max(owed);
    }

    fn nudge(&mut self, key: &ObjectRef<MqttCluster>, nudges: &mpsc::Sender<ObjectRef<MqttCluster>>) {
        let is_time = match self.owes {
            Owes::Nothing => false,
            Owes::Numbers => self.nudged.is_none_or(|nudged| nudged.elapsed() >= NUMBERS_EVERY),
            Owes::Decision => true,
        };
        if is_time && nudges.try_send(key.clone()).is_ok() {
            self.owes = Owes::Nothing;
            self.nudged = Some(Instant::now());
        }
    }
}
