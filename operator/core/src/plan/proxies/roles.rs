//! Who serves, who hands over, who waits: the role that each proxy of one revision should have, and the write that brings it.
//!
//! Called by `plan_proxies` for the target ([`assign`]) and for revisions on their way out ([`hand_over`], [`serve_on`]).
//! Leaves out how many pods there are (`pool`).

use std::collections::{BTreeMap, BTreeSet};

use super::ProxyAction;
use super::demotion::Demotion;
use super::room::Room;
use crate::observe::{ProxyPod, Role};
use crate::plan::moves::MovesPlan;

/// `pod-deletion-cost` of a proxy that serves: the last to be removed.
pub const ACTIVE_COST: i32 = 1000;

/// `pod-deletion-cost` of a proxy that lost its place while it was not ready, and may still have clients: after all others
/// that wait.
pub const FORMER_COST: i32 = 100;

/// `pod-deletion-cost` of a proxy that waits; pods without the annotation have it from birth.
pub const WARM_COST: i32 = 0;

/// `pod-deletion-cost` of a proxy that hands over its clients and still has some: after all that wait.
pub const DRAINING_COST: i32 = 100;

/// `pod-deletion-cost` of a proxy that has handed over, or is waited for no longer. `replicas` is lowered for its sake, so it
/// is to go first.
pub const DRAINED_COST: i32 = -100;

/// A proxy and the role that it should have.
pub(super) type Assigned<'a> = (&'a ProxyPod, Role);

/// Assigns roles within the revision that is asked for: `replicas` proxies are active, in the order of [`Preference`]; of the
/// others, those that serve hand over, and the rest wait. Who has handed over waits again as long as less than `warm` that are
/// ready do.
///
/// Those on a cordoned node leave it together: as soon as as many others serve, or can from now on, as are asked for.
/// Until then they serve beside these.
///
/// An active proxy that is not ready gives its place to one that is. It waits then, if less than `warm` do: its clients, should
/// it still have some, stay where they are. One that is lost gives up its place in any case, and hands over if it lives.
pub(super) fn assign<'a>(
    proxies: &[&'a ProxyPod],
    replicas: u32,
    warm: u32,
    room: &mut Room,
    demotion: Demotion<'_>,
    cordoned: &BTreeSet<String>,
) -> Vec<Assigned<'a>> {
    let kept = choose_active(proxies, replicas as usize, room, cordoned);
    let is_kept = |proxy: &ProxyPod| kept.iter().any(|kept| kept.pod.uid == proxy.pod.uid);
    let waiting_where = |is_it: &dyn Fn(&ProxyPod) -> bool| {
        let waits = proxies.iter().filter(|proxy| proxy.is_warm() && !is_kept(proxy));
        waits.filter(|proxy| is_it(proxy)).count()
    };
    let mut waiting = waiting_where(&|_| true);
    // One that only starts is of less use than one that is there, and one that has lost its place may have clients.
    let mut waiting_ready = waiting_where(&|proxy| proxy.pod.is_ready || cost_of(proxy) > WARM_COST);
    let assign_one = |proxy: &'a ProxyPod| {
        let role = match proxy.role {
            _ if is_kept(proxy) => Role::Active,
            // Whoever else was lost hands over nothing.
            Some(Role::Active) if proxy.loss.is_dead() => Role::Warm,
            // This one can tell its clients to go elsewhere.
            Some(Role::Active) if proxy.loss.is_cut_off() => Role::Draining,
            Some(Role::Active) if !proxy.pod.is_ready && waiting < warm as usize => {
                waiting += 1;
                Role::Warm
            }
            Some(Role::Draining) if waiting_ready < warm as usize && demotion.is_due(proxy) => {
                waiting_ready += 1;
                waiting += 1;
                Role::Warm
            }
            Some(Role::Active | Role::Draining) => Role::Draining,
            Some(Role::Warm) | None => Role::Warm,
        };
        (proxy, role)
    };
    let mut assigned: Vec<Assigned<'a>> = proxies.iter().copied().map(assign_one).collect();
    // Who takes the place of a proxy that serves has it before that one leaves.
    assigned.sort_by_key(|(proxy, role)| *role == Role::Draining && is_on(proxy, cordoned));
    assigned
}

/// Whether a proxy is on one of these nodes.
pub(super) fn is_on(proxy: &ProxyPod, nodes: &BTreeSet<String>) -> bool {
    proxy.pod.node.as_ref().is_some_and(|node| nodes.contains(node))
}

/// All proxies of a revision that another one has taken over from leave together. What waits is left alone: its Deployment
/// goes to zero.
pub(super) fn hand_over<'a>(proxies: &[&'a ProxyPod]) -> Vec<Assigned<'a>> {
    let leaves = |proxy: &&ProxyPod| !proxy.is_warm() || proxy.is_accepting;
    proxies
        .iter()
        .copied()
        .filter(leaves)
        .map(|proxy| (proxy, Role::Draining))
        .collect()
}

/// Whoever is active stays it; until `replicas` serve, others that are ready take the places of those that were lost. One that
/// is not ready and whose place is taken waits.
pub(super) fn serve_on<'a>(proxies: &[&'a ProxyPod], replicas: u32, room: &mut Room) -> Vec<Assigned<'a>> {
    let (active, others): (Vec<&ProxyPod>, Vec<&ProxyPod>) =
        proxies.iter().copied().partition(|proxy| proxy.is_active());
    let serving = active.iter().filter(|proxy| proxy.pod.is_ready).count();
    let mut per_node = count_per_node(&active);
    let ready: Vec<&ProxyPod> = others.into_iter().filter(|proxy| proxy.pod.is_ready).collect();
    let places = (replicas as usize).saturating_sub(serving);
    let promoted = promote(&ready, places, &mut per_node, room);
    let is_full = promoted.len() == places;
    let stays = |proxy: &ProxyPod| !proxy.loss.is_dead() && (proxy.pod.is_ready || !is_full);
    let role = |proxy: &ProxyPod| {
        if proxy.loss.is_cut_off() {
            Role::Draining
        } else if stays(proxy) {
            Role::Active
        } else {
            Role::Warm
        }
    };
    active
        .into_iter()
        .chain(promoted)
        .map(|proxy| (proxy, role(proxy)))
        .collect()
}

/// In which order proxies are made or left active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preference {
    /// It serves: leaving it moves nobody.
    Serving,
    /// It was to hand over, and was not told to stop: its clients stay.
    TakenBack,
    /// It waits and is ready.
    Promoted,
    /// It is active and not ready: nobody else can be.
    NotReady,
    /// It was to hand over, and cannot serve at the moment.
    ToBeTakenBack,
}

fn preference(proxy: &ProxyPod) -> Option<Preference> {
    if proxy.loss.fault.is_some() {
        return None;
    }
    match (proxy.role, proxy.pod.is_ready) {
        (Some(Role::Active), true) => Some(Preference::Serving),
        (Some(Role::Active), false) => Some(Preference::NotReady),
        (Some(Role::Draining), true) => Some(Preference::TakenBack),
        (Some(Role::Draining), false) => Some(Preference::ToBeTakenBack),
        (Some(Role::Warm) | None, true) => Some(Preference::Promoted),
        (Some(Role::Warm) | None, false) => None,
    }
}

/// Chooses the proxies that should be active: `count`, or more where proxies of cordoned nodes stay until as many others are
/// there.
fn choose_active<'a>(
    proxies: &[&'a ProxyPod],
    count: usize,
    room: &mut Room,
    cordoned: &BTreeSet<String>,
) -> Vec<&'a ProxyPod> {
    let of = |wanted: Preference, is_on_cordoned: bool| -> Vec<&'a ProxyPod> {
        let is_it = |proxy: &&ProxyPod| preference(proxy) == Some(wanted) && is_on(proxy, cordoned) == is_on_cordoned;
        proxies.iter().copied().filter(is_it).collect()
    };
    let mut chosen = of(Preference::Serving, false);
    if chosen.len() > count {
        remove_victims(&mut chosen, count);
        return chosen;
    }
    let mut per_node = count_per_node(&chosen);
    for preference in [Preference::TakenBack, Preference::Promoted] {
        let places = count - chosen.len();
        chosen.extend(promote(&of(preference, false), places, &mut per_node, room));
    }
    if chosen.len() == count {
        return chosen;
    }
    // One that left before the others would hand its clients to those that leave next.
    let mut staying = of(Preference::Serving, true);
    remove_victims(&mut staying, count);
    chosen.extend(staying);
    let mut per_node = count_per_node(&chosen);
    for (preference, is_on_cordoned) in [
        (Preference::TakenBack, true),
        (Preference::Promoted, true),
        (Preference::NotReady, false),
        (Preference::NotReady, true),
        (Preference::ToBeTakenBack, false),
        (Preference::ToBeTakenBack, true),
    ] {
        let places = count.saturating_sub(chosen.len());
        chosen.extend(promote(&of(preference, is_on_cordoned), places, &mut per_node, room));
    }
    chosen
}

/// Takes out those that hand over until `count` are left: who shares a node with most others, and is the youngest there.
fn remove_victims(serving: &mut Vec<&ProxyPod>, count: usize) {
    let mut per_node = count_per_node(serving);
    while serving.len() > count {
        let worst = serving.iter().enumerate().max_by_key(|(_, proxy)| {
            let on_node = per_node.get(&proxy.pod.node.as_deref()).copied();
            (on_node, proxy.pod.created_s, proxy.pod.name.as_str())
        });
        let Some((index, _)) = worst else { break };
        let victim = serving.swap_remove(index);
        if let Some(on_node) = per_node.get_mut(&victim.pod.node.as_deref()) {
            *on_node -= 1;
        }
    }
}

type PerNode<'a> = BTreeMap<Option<&'a str>, usize>;

fn count_per_node<'a>(proxies: &[&'a ProxyPod]) -> PerNode<'a> {
    let mut per_node = PerNode::new();
    for proxy in proxies {
        *per_node.entry(proxy.pod.node.as_deref()).or_default() += 1;
    }
    per_node
}

/// Chooses up to `places` of the candidates: where there is room for what they will reserve, on the node with fewest active
/// proxies, the oldest there.
fn promote<'a>(
    candidates: &[&'a ProxyPod],
    places: usize,
    per_node: &mut PerNode<'a>,
    room: &mut Room,
) -> Vec<&'a ProxyPod> {
    let mut left: Vec<&ProxyPod> = candidates.to_vec();
    let mut chosen = Vec::new();
    while chosen.len() < places {
        let best = left.iter().enumerate().min_by_key(|(_, proxy)| {
            let on_node = per_node.get(&proxy.pod.node.as_deref()).copied().unwrap_or(0);
            (room.fit(proxy), on_node, proxy.pod.created_s, proxy.pod.name.as_str())
        });
        let Some((index, _)) = best else { break };
        let best = left.swap_remove(index);
        *per_node.entry(best.pod.node.as_deref()).or_default() += 1;
        room.take(best);
        chosen.push(best);
    }
    chosen
}

/// Pushes the write that brings a proxy to its role, if there is something to write.
///
/// One that is not ready is not made active, and one that comes up is left alone: its labels are those of its birth.
pub(super) fn push(
    actions: &mut Vec<ProxyAction>,
    proxy: &ProxyPod,
    role: Role,
    config_hash: Option<&str>,
    moves: &MovesPlan,
) {
    let is_change = proxy.role != Some(role);
    let is_due = match role {
        Role::Active => proxy.is_active() || proxy.pod.is_ready,
        Role::Warm => !proxy.is_warm() || proxy.is_accepting || proxy.pod.is_ready || proxy.loss.fault.is_some(),
        Role::Draining => true,
    };
    let cost_now = cost_of(proxy);
    let cost = match role {
        Role::Active => ACTIVE_COST,
        // It has handed over: nobody is on it.
        Role::Warm if proxy.role == Some(Role::Draining) => WARM_COST,
        Role::Warm if cost_now > WARM_COST => FORMER_COST,
        Role::Warm => WARM_COST,
        // Who has just left the Service has its clients.
        Role::Draining if is_change || !moves.may_go(&proxy.pod.uid) => DRAINING_COST,
        Role::Draining => DRAINED_COST,
    };
    let accepting = role == Role::Active && !moves.is_steered(&proxy.pod.uid);
    let differs = is_change
        || proxy.is_accepting != accepting
        || cost_now != cost
        || proxy.loss.fault != proxy.loss.mark
        || (config_hash.is_some() && proxy.pod.config_hash.as_deref() != config_hash);
    if is_due && differs {
        actions.push(ProxyAction::SetRole {
            pod: proxy.pod.name.clone(),
            resource_version: proxy.pod.resource_version.clone(),
            role,
            accepting,
            deletion_cost: cost,
            is_change,
            config_hash: config_hash.map(str::to_owned),
            mark: proxy.loss.fault,
            // It ends with the role that it was given for: nobody who comes from now on is to be given away.
            ends_order: is_change && proxy.role == Some(Role::Draining) && proxy.order.is_some(),
        });
    }
}

fn cost_of(proxy: &ProxyPod) -> i32 {
    proxy.deletion_cost.unwrap_or(WARM_COST)
}
