//! Evening out proxies that serve: MQTT connections never move by themselves, so one that is new would stay empty.
//!
//! An action begins when some proxy has far less than the mean: less than twice the tolerance below it, and less than what
//! chance explains. Those above the mean leave the Service together, never all, and each gives away what it has above the
//! mean; one that has reached it leaves the Service, too. When all are there and nobody gives any more, or the time is over,
//! all take connections again. Who gives in an action takes nobody in it, and the other way round, so that no client is
//! moved twice. One that comes meanwhile is taken up: all are told their new share, and moves go on. Proxies of which
//! nothing is known neither give nor take.
//!
//! None begins while clients of proxies that leave are on their way, and for a while after: who has just been moved stays.
//! Nor while storage is away, or so many wait for it that nobody knows who will be where.

use std::time::Duration;

use freshet_config::{MoveOrder, MoveReason};

use super::{
    MoveInput, MovesPlan, ProxySample, anybody_leaves, millis, next_pace, receivers, server_references, share, takes,
};
use crate::observe::{Observed, ProxyPod};

/// How long Services take to follow, at most: whom a proxy gives away before might come back to it. And how long a proxy takes
/// to see its order.
const SETTLE: Duration = Duration::from_millis(1_500);
/// How long clients may take to come back, and proxies to see their orders, beyond the time that the moves take. And how long
/// those that have come from proxies that left are let alone.
const RETURN: Duration = Duration::from_secs(20);
/// How long after an action none begins, unless the number of proxies has changed since.
const REST: Duration = Duration::from_secs(60);
/// Clients below the mean that are never a reason to move any.
const LEAST: u64 = 5;

/// An action that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebalanced {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Active proxies there were.
    pub proxies: u32,
    /// Whether all came within the tolerance; otherwise its time was over, or something has come in between.
    pub is_even: bool,
}

/// A proxy that serves, with what is known of it.
type Known<'a> = (&'a ProxyPod, &'a ProxySample);

/// Plans the next step of the action that is under way, or begins one where one is due.
pub(super) fn plan(observed: &Observed, input: &MoveInput<'_>, plan: &mut MovesPlan) {
    let active: Vec<&ProxyPod> = observed.proxies.iter().filter(|proxy| proxy.is_active()).collect();
    let in_action: Vec<(&ProxyPod, &MoveOrder)> = active
        .iter()
        .filter_map(|proxy| Some((*proxy, proxy.order.as_ref()?)))
        .filter(|(_, order)| order.reason == MoveReason::Rebalance)
        .collect();
    // A revision that is tried out gets clients as it is meant to, and not because it is empty.
    let is_rolling = active
        .first()
        .is_some_and(|first| active.iter().any(|proxy| proxy.revision != first.revision));
    let is_drained = anybody_leaves(observed, input.samples);
    if in_action.is_empty() {
        if input.settings.steers && !is_drained && !is_rolling {
            begin(observed, &active, input, plan);
        }
        return;
    }
    let taking: Vec<Known<'_>> = known(&active, input).filter(|(proxy, _)| takes(proxy)).collect();
    let proxies = count(&active);
    let is_void = is_drained
        || is_rolling
        || !input.settings.steers
        || taking.is_empty()
        || in_action
            .iter()
            .any(|(_, order)| order.proxies > proxies || input.now_ms >= order.until_ms);
    let has_come = in_action.iter().any(|(_, order)| order.proxies < proxies);
    if !is_void && has_come && extend(observed, &active, &in_action, input, plan) {
        return;
    }
    let progress = progress(&in_action, &active, &taking, input);
    if !is_void && progress == Progress::Stuck && extend(observed, &active, &in_action, input, plan) {
        return;
    }
    let is_even = !is_void && !has_come && progress == Progress::Even;
    if is_void || is_even {
        for (proxy, _) in in_action {
            plan.write(proxy, None);
        }
        plan.ends = Some(Rebalanced {
            at_ms: input.now_ms,
            proxies,
            is_even,
        });
        return;
    }
    go_on(observed, &in_action, taking, mean(&active, input), input, plan);
}

fn known<'a>(active: &[&'a ProxyPod], input: &MoveInput<'a>) -> impl Iterator<Item = Known<'a>> {
    let samples = input.samples;
    let ready = active.iter().copied().filter(|proxy| proxy.pod.is_ready);
    ready.filter_map(move |proxy| Some((proxy, samples.of(proxy)?)))
}

/// Clients of a proxy that serves, as far as they are known; those that are on their way are in none.
fn mean(active: &[&ProxyPod], input: &MoveInput<'_>) -> u64 {
    let (all, proxies) = known(active, input).fold((0, 0), |(all, proxies), (_, sample)| {
        (all + sample.clients, proxies + 1)
    });
    all / proxies.max(1)
}

fn count(active: &[&ProxyPod]) -> u32 {
    u32::try_from(active.len()).unwrap_or(u32::MAX)
}

fn begin(observed: &Observed, active: &[&ProxyPod], input: &MoveInput<'_>, plan: &mut MovesPlan) {
    let proxies = count(active);
    let is_within = |at_ms: u64, rest: Duration| input.now_ms.saturating_sub(at_ms) < millis(rest);
    let rests = |last: Rebalanced| last.proxies == proxies && is_within(last.at_ms, REST);
    let has_settled = |last_leaving_ms: u64| !is_within(last_leaving_ms, RETURN);
    if input.rebalanced.is_some_and(rests) || !input.last_leaving_ms.is_none_or(has_settled) {
        return;
    }
    let Some(shares) = Shares::of(active, 0, input) else {
        return;
    };
    let (mean, within) = (shares.mean, u64::from(input.settings.within_percent));
    // Random dealing leaves a proxy three standard deviations from the mean once in hundreds of times.
    let far = (mean * within * 2 / 100).max(3 * mean.isqrt()).max(LEAST);
    let is_poor = |(proxy, sample): &&Known<'_>| takes(proxy) && sample.clients + far <= mean;
    let receivers = receivers(observed, input.samples);
    let are_settled = !receivers.is_storage_away && receivers.attaching < far;
    if !are_settled || shares.surplus == 0 || !shares.known.iter().any(|known| is_poor(&known)) {
        return;
    }
    for donor in shares.donors() {
        let order = shares.order_of(donor, proxies, observed, input);
        plan.steered.insert(donor.0.pod.uid.clone());
        plan.write(donor.0, Some(order));
    }
    plan.begins = Some(shares.surplus);
}

/// Tells all that are in the action their share among those that are there now. False: what a proxy has is not known yet.
fn extend(
    observed: &Observed,
    active: &[&ProxyPod],
    in_action: &[(&ProxyPod, &MoveOrder)],
    input: &MoveInput<'_>,
    plan: &mut MovesPlan,
) -> bool {
    let proxies = count(active);
    // Of those that are on their way now, each is to have its share, too.
    let begun_with = in_action
        .iter()
        .map(|(_, order)| order.clients.saturating_mul(u64::from(order.proxies)));
    let least_mean = begun_with.max().unwrap_or(0) / u64::from(proxies.max(1));
    let shares = Shares::of(active, least_mean, input).filter(|shares| shares.known.len() == active.len());
    let Some(shares) = shares else {
        return false;
    };
    for (proxy, order) in in_action {
        plan.steered.insert(proxy.pod.uid.clone());
        if !shares.donors().any(|(donor, _)| donor.pod.uid == proxy.pod.uid) {
            let order = MoveOrder {
                proxies,
                clients: shares.mean,
                ..given_all(order, input.now_ms)
            };
            plan.write(proxy, Some(order));
        }
    }
    for donor in shares.donors() {
        let mut order = shares.order_of(donor, proxies, observed, input);
        if let Some(former) = donor.0.order.as_ref().filter(|former| gives(former)) {
            // It has left the Service, and goes on giving.
            (order.given_ms, order.from_ms) = (former.given_ms, former.from_ms);
        }
        plan.steered.insert(donor.0.pod.uid.clone());
        plan.write(donor.0, Some(order));
    }
    true
}

/// What each proxy is to have, and who has more.
struct Shares<'a> {
    known: Vec<Known<'a>>,
    mean: u64,
    /// Clients beyond the mean on those that give.
    surplus: u64,
    within: u64,
}

impl<'a> Shares<'a> {
    /// By the clients that are connected, or a mean that is known to be greater. Nothing where too little is known.
    fn of(active: &[&'a ProxyPod], least_mean: u64, input: &MoveInput<'a>) -> Option<Self> {
        let known: Vec<Known<'a>> = known(active, input).filter(|(_, sample)| sample.takes_orders).collect();
        if known.len() < 2 || known.len() * 2 < active.len() {
            return None;
        }
        let all: u64 = known.iter().map(|(_, sample)| sample.clients).sum();
        let mut shares = Self {
            mean: all.div_ceil(known.len() as u64).max(least_mean),
            known,
            surplus: 0,
            within: u64::from(input.settings.within_percent),
        };
        shares.surplus = shares.donors().map(|(_, sample)| sample.clients - shares.mean).sum();
        Some(shares)
    }

    fn donors(&self) -> impl Iterator<Item = Known<'a>> {
        let enough = above(self.mean, self.within);
        self.known
            .iter()
            .copied()
            .filter(move |(_, sample)| sample.clients > enough)
    }

    fn order_of(&self, donor: Known<'_>, proxies: u32, observed: &Observed, input: &MoveInput<'_>) -> MoveOrder {
        let from_ms = input.now_ms + millis(SETTLE);
        // Twice as long as it takes at the pace that it begins with.
        let lasts_ms = self.surplus.saturating_mul(2_000) / u64::from(input.per_second.max(1));
        MoveOrder {
            reason: MoveReason::Rebalance,
            keep: self.mean,
            clients_per_second: share(pace(input), donor.1.clients - self.mean, self.surplus),
            given_ms: input.now_ms,
            from_ms,
            until_ms: from_ms + lasts_ms + millis(RETURN),
            written_ms: input.now_ms,
            proxies,
            clients: self.mean,
            server_references: server_references(observed, &input.settings.server_reference),
        }
    }
}

/// What a proxy may have and still counts as even: half the tolerance, since chance deals the rest.
fn above(mean: u64, within: u64) -> u64 {
    mean + mean * within / 200
}

fn pace(input: &MoveInput<'_>) -> u32 {
    input.per_second.min(input.settings.rebalance_max_per_second)
}

/// How far an action has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Clients are given, or on their way.
    GoesOn,
    /// All that give have given, and all that take have come near the mean, or nobody has much more than that.
    Even,
    /// Nobody gives and nobody is on the way any more, and one that took has much more than its share, and one less.
    Stuck,
}

/// One proxy of which nothing is known is waited for.
fn progress(
    in_action: &[(&ProxyPod, &MoveOrder)],
    active: &[&ProxyPod],
    taking: &[Known<'_>],
    input: &MoveInput<'_>,
) -> Progress {
    let within = u64::from(input.settings.within_percent);
    // Who still had its order would give away others in the place of those that come to it now.
    let has_given = |(_, order): &(&ProxyPod, &MoveOrder)| {
        !gives(order) && input.now_ms.saturating_sub(order.written_ms) >= millis(SETTLE)
    };
    let Some(mean) = in_action.iter().map(|(_, order)| order.clients).max() else {
        return Progress::Even;
    };
    if !in_action.iter().all(has_given) {
        return Progress::GoesOn;
    }
    let has_taken = |(_, sample): &Known<'_>| sample.clients + mean * within / 100 >= mean;
    if taking.iter().all(has_taken) {
        return Progress::Even;
    }
    // More than random dealing explains.
    let much = above(mean, within).max(mean + 4 * mean.isqrt());
    let (mut there, mut proxies, mut has_more) = (0, 0, false);
    for (_, sample) in known(active, input) {
        there += sample.clients;
        proxies += 1;
        has_more |= sample.clients > much;
    }
    // The mean was rounded up.
    let are_all_there = there + proxies > mean.saturating_mul(proxies) && proxies == u64::from(count(active));
    match (are_all_there, has_more) {
        (false, _) => Progress::GoesOn,
        (true, false) => Progress::Even,
        (true, true) => Progress::Stuck,
    }
}

/// Whether an order is one to give; the others only keep new connections away.
fn gives(order: &MoveOrder) -> bool {
    order.keep < u64::MAX
}

fn go_on(
    observed: &Observed,
    in_action: &[(&ProxyPod, &MoveOrder)],
    mut taking: Vec<Known<'_>>,
    mean: u64,
    input: &MoveInput<'_>,
    plan: &mut MovesPlan,
) {
    let within = u64::from(input.settings.within_percent);
    // Of clients that have connected since it began each proxy keeps its share, too.
    let is_outgrown = |order: &MoveOrder| gives(order) && mean > above(order.clients, within);
    let keep = |order: &MoveOrder| if is_outgrown(order) { mean } else { order.keep };
    let left = |proxy: &ProxyPod, order: &MoveOrder| {
        let sample = input.samples.of(proxy);
        sample.map_or(0, |sample| sample.clients.saturating_sub(keep(order)))
    };
    let all: u64 = in_action.iter().map(|(proxy, order)| left(proxy, order)).sum();
    for (proxy, order) in in_action {
        plan.steered.insert(proxy.pod.uid.clone());
        if !gives(order) {
            continue;
        }
        let own = left(proxy, order);
        let raised = MoveOrder {
            keep: keep(order),
            clients: order.clients.max(keep(order)),
            ..(*order).clone()
        };
        if own == 0 {
            if input.samples.of(proxy).is_some() {
                plan.write(proxy, Some(given_all(&raised, input.now_ms)));
            }
            continue;
        }
        let per_second = next_pace(order, share(pace(input), own, all), input.now_ms);
        if per_second != order.clients_per_second || raised.keep != order.keep {
            let order = MoveOrder {
                clients_per_second: per_second,
                written_ms: input.now_ms,
                server_references: server_references(observed, &input.settings.server_reference),
                ..raised
            };
            plan.write(proxy, Some(order));
        }
    }
    let Some((_, first)) = in_action.iter().max_by_key(|(_, order)| order.clients) else {
        return;
    };
    // Who has the mean has enough; the fullest first, and never the last.
    let full = above(first.clients, within);
    taking.sort_by_key(|(_, sample)| sample.clients);
    while let Some((proxy, sample)) = taking.pop() {
        if sample.clients <= full || taking.is_empty() {
            return;
        }
        plan.steered.insert(proxy.pod.uid.clone());
        plan.write(proxy, Some(given_all(first, input.now_ms)));
    }
}

/// The order of one that gives nobody away and gets nobody, until the action ends.
fn given_all(order: &MoveOrder, now_ms: u64) -> MoveOrder {
    MoveOrder {
        keep: u64::MAX,
        clients_per_second: 0,
        written_ms: now_ms,
        server_references: Vec::new(),
        ..order.clone()
    }
}
