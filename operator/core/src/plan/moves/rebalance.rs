//! Evening out proxies that serve: MQTT connections never move by themselves, so one that is new would stay empty.
//!
//! An action begins when some proxy has far less than the mean: less than twice the tolerance below it, and less than what
//! chance explains. Those above the mean leave the Service together, never all, and each gives away what it has above the
//! mean; one that has reached it leaves the Service, too, and so does one that would go too far beyond it with what is still
//! to come. When all are there and within the tolerance, or the time is over, all take connections again. Who gives takes
//! nobody, and the other way round, so that no client is moved twice; but when all are there and one has too many because it
//! was dealt them, that one gives those away. One that comes meanwhile is taken up: all are told their new share, and moves
//! go on. Proxies of which nothing is known neither give nor take.
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
/// Clients beside the mean that are never a reason to move any.
const LEAST: u64 = 5;
/// How long connections still come to one that is to leave the Service, at most.
const LEAVING_MS: u64 = 400;

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
    let progress = progress(&in_action, &active, input);
    let why = if has_come {
        Some(Extension::Newcomer)
    } else {
        (progress == Progress::Stuck).then_some(Extension::Uneven)
    };
    let is_extended = |why| extend(why, observed, &active, &in_action, input, plan);
    if !is_void && why.is_some_and(is_extended) {
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
    go_on(observed, &active, &in_action, taking, input, plan);
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
    let Some(shares) = Shares::of(active, 0, input.settings.within_percent, input) else {
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

/// Why all that are in an action are told their share again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    /// A proxy has come.
    Newcomer,
    /// All are there, and it is not even: who has too few takes, even if it had enough before, and all others give.
    Uneven,
}

/// Tells all that are in the action their share among those that are there now. False: what a proxy has is not known yet.
fn extend(
    why: Extension,
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
    let within_percent = match why {
        Extension::Newcomer => input.settings.within_percent,
        Extension::Uneven => 0,
    };
    let shares = Shares::of(active, least_mean, within_percent, input);
    let Some(shares) = shares.filter(|shares| shares.known.len() == active.len()) else {
        return false;
    };
    for (proxy, order) in in_action {
        if shares.donors().any(|(donor, _)| donor.pod.uid == proxy.pod.uid) {
            continue;
        }
        let clients = input.samples.of(proxy).map_or(u64::MAX, |sample| sample.clients);
        if why == Extension::Uneven && clients < shares.mean {
            plan.write(proxy, None);
            continue;
        }
        plan.steered.insert(proxy.pod.uid.clone());
        let order = MoveOrder {
            proxies,
            clients: shares.mean,
            ..given_all(order, input.now_ms)
        };
        plan.write(proxy, Some(order));
    }
    // Time after time it might become uneven again.
    let until_ms = in_action.iter().map(|(_, order)| order.until_ms).max();
    for donor in shares.donors() {
        let mut order = shares.order_of(donor, proxies, observed, input);
        match donor.0.order.as_ref() {
            // It has left the Service, and goes on giving.
            Some(former) if gives(former) => (order.given_ms, order.from_ms) = (former.given_ms, former.from_ms),
            Some(former) => order.from_ms = input.now_ms.max(former.written_ms + millis(SETTLE)),
            None => {}
        }
        if why == Extension::Uneven {
            order.until_ms = until_ms.unwrap_or(order.until_ms);
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
    /// Who has no more than half of `within_percent` above the mean gives nobody.
    fn of(active: &[&'a ProxyPod], least_mean: u64, within_percent: u32, input: &MoveInput<'a>) -> Option<Self> {
        let known: Vec<Known<'a>> = known(active, input).filter(|(_, sample)| sample.takes_orders).collect();
        if known.len() < 2 || known.len() * 2 < active.len() {
            return None;
        }
        let all: u64 = known.iter().map(|(_, sample)| sample.clients).sum();
        let mut shares = Self {
            mean: all.div_ceil(known.len() as u64).max(least_mean),
            known,
            surplus: 0,
            within: u64::from(within_percent),
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
    /// All that give have given, and all that are known are near the mean, or nobody has more than it.
    Even,
    /// Nobody gives and nobody is on the way any more, and one is not near the mean.
    Stuck,
}

fn progress(in_action: &[(&ProxyPod, &MoveOrder)], active: &[&ProxyPod], input: &MoveInput<'_>) -> Progress {
    let Some(share) = in_action.iter().map(|(_, order)| order.clients).max() else {
        return Progress::Even;
    };
    // Of clients that have connected since it began each is to have its share, too.
    let mean = share.max(mean(active, input));
    let within = mean * u64::from(input.settings.within_percent) / 100;
    let tolerance = within.max(2 * mean.isqrt()).max(LEAST);
    let clients: Vec<u64> = known(active, input).map(|(_, sample)| sample.clients).collect();
    if clients.iter().all(|clients| clients.abs_diff(mean) <= tolerance) {
        // Who still had its order would give away others in the place of those that come to it now.
        let has_seen = |(_, order): &(&ProxyPod, &MoveOrder)| {
            !gives(order) && input.now_ms.saturating_sub(order.written_ms) >= millis(SETTLE)
        };
        let have_all = in_action.iter().all(has_seen);
        return if have_all { Progress::Even } else { Progress::GoesOn };
    }
    let has_given = |(proxy, order): &(&ProxyPod, &MoveOrder)| {
        let clients = input.samples.of(proxy).map(|sample| sample.clients);
        !gives(order) || clients.is_some_and(|clients| clients <= order.keep)
    };
    let proxies = clients.len() as u64;
    // The mean was rounded up.
    let are_all_there = clients.iter().sum::<u64>() + proxies > mean * proxies && proxies == u64::from(count(active));
    if !are_all_there || !in_action.iter().all(has_given) {
        Progress::GoesOn
    } else if clients.iter().any(|clients| *clients > mean) {
        Progress::Stuck
    } else {
        Progress::Even
    }
}

/// Whether an order is one to give; the others only keep new connections away.
fn gives(order: &MoveOrder) -> bool {
    order.keep < u64::MAX
}

fn go_on(
    observed: &Observed,
    active: &[&ProxyPod],
    in_action: &[(&ProxyPod, &MoveOrder)],
    mut taking: Vec<Known<'_>>,
    input: &MoveInput<'_>,
    plan: &mut MovesPlan,
) {
    let (mean, within) = (mean(active, input), u64::from(input.settings.within_percent));
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
    taking.sort_by_key(|(_, sample)| sample.clients);
    let clients: Vec<u64> = taking.iter().map(|(_, sample)| sample.clients).collect();
    // Those that are on their way now are in no count; where one is not known, they may be there.
    let present: Vec<u64> = known(active, input).map(|(_, sample)| sample.clients).collect();
    let are_away = if present.len() == active.len() {
        let whole = first.clients.saturating_mul(present.len() as u64);
        whole.saturating_sub(present.iter().sum())
    } else {
        0
    };
    let dealing = Dealing {
        share: first.clients,
        within,
        to_come: all + are_away,
        soon: in_action
            .iter()
            .map(|(_, order)| u64::from(order.clients_per_second) * LEAVING_MS / 1_000)
            .sum(),
    };
    for (proxy, _) in taking.drain(dealing.takers(&clients)..) {
        plan.steered.insert(proxy.pod.uid.clone());
        plan.write(proxy, Some(given_all(first, input.now_ms)));
    }
}

/// Clients that are still to come to those that take, and that chance deals.
#[derive(Debug)]
struct Dealing {
    /// What each is to have.
    share: u64,
    /// In percent of it.
    within: u64,
    to_come: u64,
    /// Of these, those that may come also to one that is to leave the Service.
    soon: u64,
}

impl Dealing {
    /// How many of those that take go on taking, of the clients of each, those with the fewest first. Never none.
    fn takers(&self, clients: &[u64]) -> usize {
        // Who has its share has enough.
        let full = above(self.share, self.within);
        let most = clients
            .partition_point(|clients| *clients <= full)
            .max(1)
            .min(clients.len());
        // Not while it would come out even.
        if self.farthest(clients, most) * 200 <= self.share * self.within {
            return most;
        }
        let by_end = |takers: &usize| (self.farthest(clients, *takers), usize::MAX - takers);
        (1..=most).min_by_key(by_end).unwrap_or(most)
    }

    /// How far from its share the farthest may come out when so many with the fewest clients go on taking.
    fn farthest(&self, clients: &[u64], takers: usize) -> u64 {
        let when_soon_come = |soon: u64| {
            let to_all = soon / (clients.len() as u64).max(1);
            let to_takers = (self.to_come - soon) / (takers as u64).max(1);
            let ends = clients.iter().enumerate().map(move |(index, clients)| {
                let gets = if index < takers { to_all + to_takers } else { to_all };
                (clients + gets).abs_diff(self.share)
            });
            ends.max().unwrap_or(0)
        };
        when_soon_come(0).max(when_soon_come(self.soon.min(self.to_come)))
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
