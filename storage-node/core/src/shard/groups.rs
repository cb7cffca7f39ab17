//! Which proxy has which message of a shared subscription, and which proxy gets the next one.
//!
//! Soft state: proxies name their parts of groups with their interest, and again to a new leader. What is queued for a
//! group is in the state ([`crate::state`]); a message of it that no proxy has on lease is free. A proxy has at most as
//! many on lease as its members' windows can take together, so a proxy that is slow does not hold up the others.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use freshet_storage_contract::{FilterId, Lease, Position, Settlement, SharedGroup, SharedStrategy};
use hashbrown::HashMap;
use slab::Slab;

use crate::hash::NumberMap;
use crate::incarnations::PeerKey;
use crate::inspect::GroupView;
use crate::planted::planted;
use crate::state::{QueueId, Queues};

/// What a group costs the leader beside its name, in bytes.
const GROUP_OVERHEAD_BYTES: u64 = 320;
/// What a proxy's part of a group costs, in bytes.
const PART_BYTES: u64 = 160;

/// Index of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupAt(usize);

/// The groups of which some proxy has members.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: Slab<Group>,
    by_name: HashMap<Bytes, GroupAt>,
    by_queue: NumberMap<QueueId, GroupAt>,
    /// Number of the last lease.
    last_lease: u64,
    leases: u64,
    bytes: u64,
}

#[derive(Debug)]
pub(super) struct Group {
    name: Bytes,
    /// None until the log has it.
    queue: Option<QueueId>,
    strategy: SharedStrategy,
    parts: Vec<Part>,
    /// Rows up to here are on lease, or in `returned`, or not to be given.
    given: Position,
    /// Rows that came back.
    returned: BTreeSet<Position>,
    leases: BTreeMap<Position, Leased>,
}

/// A proxy's part of a group.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) peer: PeerKey,
    pub(super) filter_id: FilterId,
    members: u32,
    window: u32,
    leases: u32,
    /// How long it has been passed over, in messages times members: the longest waiting is next among equals.
    turn: i64,
}

#[derive(Debug, Clone, Copy)]
struct Leased {
    peer: PeerKey,
    number: u64,
}

/// What settling came to.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Messages that nobody needs any more.
    pub(super) done: Vec<Position>,
    /// Messages that came back.
    pub(super) returned: u64,
}

impl Groups {
    /// Forgets all groups, but not how far leases were numbered.
    pub(super) fn clear(&mut self) {
        *self = Self {
            last_lease: self.last_lease,
            ..Self::default()
        };
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Messages on lease.
    pub(super) fn leases(&self) -> u64 {
        self.leases
    }

    /// Bytes charged for groups and parts.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn contains(&self, name: &[u8]) -> bool {
        self.by_name.contains_key(name)
    }

    /// What another part of this group would be charged with.
    pub(super) fn cost_of(&self, name: &[u8]) -> u64 {
        let group = if self.contains(name) { 0 } else { group_bytes(name) };
        group + PART_BYTES
    }

    pub(super) fn of_queue(&self, queue: QueueId) -> Option<GroupAt> {
        self.by_queue.get(&queue).copied()
    }

    pub(super) fn by_name(&self, name: &[u8]) -> Option<GroupAt> {
        self.by_name.get(name).copied()
    }

    /// All groups.
    pub(super) fn all(&self) -> Vec<GroupAt> {
        self.groups.iter().map(|(at, _)| GroupAt(at)).collect()
    }

    pub(super) fn name(&self, at: GroupAt) -> Option<&Bytes> {
        self.groups.get(at.0).map(|group| &group.name)
    }

    /// Members of a group, and who has what of it.
    pub(super) fn look(&self, name: &[u8]) -> (u64, GroupView) {
        let Some(group) = self.by_name(name).and_then(|at| self.groups.get(at.0)) else {
            return (0, GroupView::default());
        };
        let members = group.parts.iter().map(|part| u64::from(part.members)).sum();
        let view = GroupView {
            proxies: group.parts.len() as u64,
            leased: group.leases.len() as u64,
            returned: group.returned.len() as u64,
            window: group.parts.iter().map(|part| u64::from(part.window)).sum(),
        };
        (members, view)
    }

    /// Adds a proxy's part, or changes it in place.
    pub(super) fn set_part(&mut self, peer: PeerKey, name: &Bytes, part: &SharedGroup) -> GroupAt {
        let at = self.by_name(name).unwrap_or_else(|| self.add(name));
        if let Some(group) = self.groups.get_mut(at.0) {
            group.strategy = part.strategy;
            let same = |p: &&mut Part| p.peer == peer && p.filter_id == part.filter_id;
            match group.parts.iter_mut().find(same) {
                Some(known) => (known.members, known.window) = (part.members, part.window),
                None => {
                    self.bytes += PART_BYTES;
                    group.parts.push(Part {
                        peer,
                        filter_id: part.filter_id,
                        members: part.members,
                        window: part.window,
                        leases: 0,
                        turn: 0,
                    });
                }
            }
        }
        at
    }

    fn add(&mut self, name: &Bytes) -> GroupAt {
        self.bytes += group_bytes(name);
        let at = GroupAt(self.groups.insert(Group {
            name: name.clone(),
            queue: None,
            strategy: SharedStrategy::default(),
            parts: Vec::new(),
            given: Position::default(),
            returned: BTreeSet::new(),
            leases: BTreeMap::new(),
        }));
        self.by_name.insert(name.clone(), at);
        at
    }

    /// The log has made the queue of a group.
    pub(super) fn bind(&mut self, at: GroupAt, queue: QueueId) {
        if let Some(group) = self.groups.get_mut(at.0) {
            if let Some(former) = group.queue.replace(queue) {
                self.by_queue.remove(&former);
            }
            self.by_queue.insert(queue, at);
        }
    }

    /// Whether the queue of a group is known.
    pub(super) fn is_bound(&self, at: GroupAt) -> bool {
        self.groups.get(at.0).is_some_and(|group| group.queue.is_some())
    }

    /// Removes a proxy's part: what it has on lease comes back. Returns how much that was, and the group's name when
    /// that was its last part.
    pub(super) fn remove_part(&mut self, at: GroupAt, peer: PeerKey, filter_id: FilterId) -> (u64, Option<Bytes>) {
        let Some(group) = self.groups.get_mut(at.0) else {
            return (0, None);
        };
        let Some(part) = group.part_at(peer, filter_id) else {
            return (0, None);
        };
        group.parts.swap_remove(part);
        self.bytes -= PART_BYTES;
        let came_back: Vec<Position> = group
            .leases
            .iter()
            .filter(|(_, leased)| leased.peer == peer)
            .map(|(position, _)| *position)
            .collect();
        for position in &came_back {
            group.leases.remove(position);
        }
        let count = came_back.len() as u64;
        self.leases -= count;
        group.returned.extend(came_back);
        if !group.parts.is_empty() {
            return (count, None);
        }
        let group = self.groups.remove(at.0);
        self.by_name.remove(&group.name);
        if let Some(queue) = group.queue {
            self.by_queue.remove(&queue);
        }
        self.bytes -= group_bytes(&group.name);
        (count, Some(group.name))
    }

    /// Ends leases of a proxy. Those that are not its own any more are passed over.
    pub(super) fn settle(&mut self, at: GroupAt, peer: PeerKey, settled: &[(Lease, Settlement)]) -> Settled {
        let mut result = Settled::default();
        let Some(group) = self.groups.get_mut(at.0) else {
            return result;
        };
        for (lease, settlement) in settled {
            let is_its_own = |leased: &Leased| leased.peer == peer && leased.number == lease.number;
            if !group.leases.get(&lease.position).is_some_and(is_its_own) {
                continue;
            }
            group.end_lease(lease.position);
            self.leases -= 1;
            match settlement {
                Settlement::Done => result.done.push(lease.position),
                Settlement::Returned => {
                    if !planted!(ReturnedMessageForgotten) {
                        group.returned.insert(lease.position);
                    }
                    result.returned += 1;
                }
            }
        }
        result
    }

    /// A stored session has taken a message for itself.
    pub(super) fn taken(&mut self, at: GroupAt, position: Position) {
        if let Some(group) = self.groups.get_mut(at.0) {
            if group.end_lease(position) {
                self.leases -= 1;
            }
            group.returned.remove(&position);
        }
    }

    /// The next message that nobody has on lease.
    pub(super) fn next(&mut self, at: GroupAt, queues: &Queues) -> Option<Position> {
        let group = self.groups.get_mut(at.0)?;
        let queue = group.queue?;
        while let Some(position) = group.returned.first().copied() {
            if queues.has_row(queue, position) {
                return Some(position);
            }
            // It was dropped by a limit, or has expired.
            group.returned.pop_first();
        }
        queues.next_row(queue, group.given)
    }

    /// Messages that nobody has on lease, in the order in which they are given.
    pub(super) fn coming<'a>(&'a self, at: GroupAt, queues: &'a Queues) -> impl Iterator<Item = Position> + 'a {
        let bound = self.groups.get(at.0).and_then(|group| Some((group, group.queue?)));
        let coming = bound.map(|(group, queue)| {
            let returned = group.returned.iter().copied();
            let returned = returned.filter(move |position| queues.has_row(queue, *position));
            returned.chain(queues.rows_after(queue, group.given))
        });
        coming.into_iter().flatten()
    }

    /// How many messages its parts can take together.
    pub(super) fn free_window(&self, at: GroupAt) -> usize {
        let group = self.groups.get(at.0);
        let parts = group.map_or(&[][..], |group| &group.parts);
        parts.iter().fold(0, |sum: usize, part| {
            sum.saturating_add(part.window.saturating_sub(part.leases) as usize)
        })
    }

    /// Whether some part can take a message, as far as `is_free` says, which is asked about each that has a window.
    pub(super) fn has_free(&self, at: GroupAt, is_free: impl FnMut(&Part) -> bool) -> bool {
        let group = self.groups.get(at.0);
        let parts = group.map_or(&[][..], |group| &group.parts);
        let with_window = parts.iter().filter(|part| part.has_window());
        with_window.map(is_free).fold(false, |some, free| some | free)
    }

    /// A message is not to be given to anybody.
    pub(super) fn pass_over(&mut self, at: GroupAt, position: Position) {
        if let Some(group) = self.groups.get_mut(at.0) {
            group.note_given(position);
        }
    }

    /// Gives a message to a part.
    pub(super) fn lease(&mut self, at: GroupAt, part: usize, position: Position) -> Option<Lease> {
        let group = self.groups.get_mut(at.0)?;
        let part = group.parts.get_mut(part)?;
        part.leases = part.leases.saturating_add(1);
        self.last_lease += 1;
        self.leases += 1;
        let number = self.last_lease;
        let peer = part.peer;
        group.leases.insert(position, Leased { peer, number });
        group.note_given(position);
        Some(Lease { position, number })
    }

    /// Chooses the part that gets a message, among those that `is_free` agrees to: in turns by their members, or the
    /// one with the fewest messages for its members.
    pub(super) fn choose(&mut self, at: GroupAt, mut is_free: impl FnMut(&Part) -> bool) -> Option<usize> {
        let group = self.groups.get_mut(at.0)?;
        let strategy = group.strategy;
        let (mut best, mut total): (Option<usize>, i64) = (None, 0);
        for index in 0..group.parts.len() {
            let Some(part) = group.parts.get_mut(index).filter(|part| is_free(part)) else {
                continue;
            };
            let members = i64::from(part.members);
            part.turn = part.turn.saturating_add(members);
            total += members;
            let is_better = match (best.and_then(|best| group.parts.get(best)), group.parts.get(index)) {
                (Some(best), Some(part)) => part.is_before(best, strategy),
                _ => true,
            };
            if is_better {
                best = Some(index);
            }
        }
        let chosen = group.parts.get_mut(best?)?;
        chosen.turn = chosen.turn.saturating_sub(total);
        best
    }

    pub(super) fn part(&self, at: GroupAt, part: usize) -> Option<&Part> {
        self.groups.get(at.0)?.parts.get(part)
    }
}

impl Group {
    fn part_at(&self, peer: PeerKey, filter_id: FilterId) -> Option<usize> {
        self.parts
            .iter()
            .position(|part| part.peer == peer && part.filter_id == filter_id)
    }

    fn end_lease(&mut self, position: Position) -> bool {
        let Some(leased) = self.leases.remove(&position) else {
            return false;
        };
        if let Some(part) = self.parts.iter_mut().find(|part| part.peer == leased.peer) {
            part.leases = part.leases.saturating_sub(1);
        }
        true
    }

    fn note_given(&mut self, position: Position) {
        if !self.returned.remove(&position) {
            self.given = self.given.max(position);
        }
    }
}

impl Part {
    /// Whether its members can take another message.
    pub(super) fn has_window(&self) -> bool {
        self.leases < self.window
    }

    /// Whether it gets a message rather than `other`.
    fn is_before(&self, other: &Self, strategy: SharedStrategy) -> bool {
        let load = |of: &Self, members_of: &Self| u64::from(of.leases) * u64::from(members_of.members);
        let (own, others) = match strategy {
            SharedStrategy::RoundRobin => (0, 0),
            SharedStrategy::LeastInflight => (load(self, other), load(other, self)),
        };
        own < others || (own == others && self.turn > other.turn)
    }
}

fn group_bytes(name: &[u8]) -> u64 {
    // In the table of names, and in the group.
    GROUP_OVERHEAD_BYTES + name.len() as u64 * 2
}

#[cfg(test)]
mod tests;
