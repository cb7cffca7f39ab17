//! Shared subscriptions: from a group's queue to the proxies that have members, and what they say became of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use freshet_storage_contract::{
    Answer, Delivery, FilterId, InterestChange, Message, QoS, RequestId, SettleShared, ShardId, SharedGroup,
    SharedMessage,
};

use super::groups::{GroupAt, Part};
use super::loads::Reader;
use super::stored::Reply;
use super::{NotAdded, Shard};
use crate::incarnations::PeerKey;
use crate::log::{Command, CommitLog};
use crate::planted::planted;
use crate::state::{Content, Note, QueueId};
use crate::turn::Turn;

impl<L: CommitLog> Shard<L> {
    /// A proxy has members of a group. `room` is what filters may add, in bytes.
    pub(super) fn set_group(
        &mut self,
        key: PeerKey,
        part: &SharedGroup,
        room: u64,
        turn: &mut Turn<'_>,
    ) -> Result<(), NotAdded> {
        let name = Bytes::from([b"$share/", &part.share_name[..], b"/", &part.topic_filter[..]].concat());
        let Some(peer) = self.peers.get_mut(key) else {
            return Ok(());
        };
        let known = peer.groups.get(&part.filter_id).copied();
        if known.is_some_and(|at| self.groups.name(at) != Some(&name)) {
            // An id stands for one filter: naming it again replaces it.
            self.remove_group(key, part.filter_id, turn);
        }
        let queue_cost = self
            .state
            .queues
            .cost_of(ShardId(0), &name)
            .ok_or(NotAdded::Malformed)?;
        let Some(peer) = self.peers.get_mut(key) else {
            return Ok(());
        };
        peer.filters.remove_missing(part.filter_id);
        let is_new_part = !peer.groups.contains_key(&part.filter_id);
        if is_new_part && queue_cost.saturating_add(self.groups.cost_of(&name)) > room {
            return peer.filters.add_missing(part.filter_id);
        }
        let at = self.groups.set_part(key, &name, part);
        peer.groups.insert(part.filter_id, at);
        if self.groups.is_bound(at) {
            self.give(at, turn);
        } else {
            let share = Command::ShareGroup {
                group: name,
                is_live: true,
            };
            let position = self.propose(share, turn);
            if let Some(peer) = self.peers.get_mut(key) {
                peer.confirms_behind = Some(position);
            }
            self.advance(turn);
        }
        Ok(())
    }

    /// A proxy has no members of a group any more: what it has on lease goes to others.
    pub(super) fn remove_group(&mut self, key: PeerKey, filter_id: FilterId, turn: &mut Turn<'_>) {
        let Some(peer) = self.peers.any_mut(key) else { return };
        let Some(at) = peer.groups.remove(&filter_id) else {
            return;
        };
        if planted!(GoneMembersChosen) {
            return;
        }
        peer.stalled.remove(&at);
        let (returned, gone) = self.groups.remove_part(at, key, filter_id);
        self.counters.shared_returned_total += returned;
        match gone {
            Some(group) => self.end_sharing(group, turn),
            None => self.give(at, turn),
        }
    }

    /// Removes up to `count` groups of a proxy. True: there are none left.
    pub(super) fn remove_some_groups(&mut self, key: PeerKey, count: usize, turn: &mut Turn<'_>) -> bool {
        let Some(peer) = self.peers.any_mut(key) else {
            return true;
        };
        let some: Vec<FilterId> = peer.groups.keys().take(count).copied().collect();
        for filter_id in some {
            self.remove_group(key, filter_id, turn);
        }
        self.peers.any_mut(key).is_none_or(|peer| peer.groups.is_empty())
    }

    /// A proxy names all that it has: removes its groups that are not among them. The others stay as they are, for what a
    /// group waits for goes with its last member.
    pub(super) fn remove_groups_but(&mut self, key: PeerKey, named: &[InterestChange], turn: &mut Turn<'_>) {
        let Some(peer) = self.peers.any_mut(key) else { return };
        let mut unnamed: BTreeSet<FilterId> = peer.groups.keys().copied().collect();
        for change in named {
            if let InterestChange::SetGroup(part) = change {
                unnamed.remove(&part.filter_id);
            }
        }
        for filter_id in unnamed {
            self.remove_group(key, filter_id, turn);
        }
    }

    /// Groups whose proxies have not named them again since this leader began have no members.
    pub(super) fn end_unnamed_groups(&mut self, turn: &mut Turn<'_>) {
        let live = self.state.queues.live_groups();
        let unnamed: Vec<Bytes> = live.filter(|name| !self.groups.contains(name)).cloned().collect();
        for group in unnamed {
            self.end_sharing(group, turn);
        }
    }

    fn end_sharing(&mut self, group: Bytes, turn: &mut Turn<'_>) {
        self.propose(Command::ShareGroup { group, is_live: false }, turn);
        self.advance(turn);
    }

    /// The log has a group.
    pub(super) fn bind_group(&mut self, name: &Bytes, turn: &mut Turn<'_>) {
        if let (Some(at), Some(queue)) = (self.groups.by_name(name), self.state.queues.group(name)) {
            self.groups.bind(at, queue);
            self.give(at, turn);
        }
    }

    /// A proxy settles leases.
    pub(crate) fn settle_shared(&mut self, key: PeerKey, settle: &SettleShared, turn: &mut Turn<'_>) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let request = settle.request;
        let Some(at) = peer.groups.get(&settle.filter_id).copied() else {
            // What it had went to others when its members had gone.
            self.answer_settled(key, request, turn);
            return;
        };
        let settled = self.groups.settle(at, key, &settle.settled);
        self.counters.shared_settled_total += settled.done.len() as u64;
        self.counters.shared_returned_total += settled.returned;
        if let Some(group) = self.groups.name(at).filter(|_| !settled.done.is_empty()) {
            let command = Command::SettleShared {
                group: group.clone(),
                positions: settled.done,
            };
            self.propose(command, turn);
        }
        self.answer_settled(key, request, turn);
        self.give(at, turn);
        self.settle(turn);
    }

    /// Answers when the log has all that was settled so far: a request that comes again finds nothing left to do.
    fn answer_settled(&mut self, key: PeerKey, request: RequestId, turn: &mut Turn<'_>) {
        if !self.has_applied_all() {
            self.answer_when_applied(self.proposed, key, Reply::SharedSettled(request));
        } else {
            turn.answer(key, Answer::SharedSettled { request });
        }
    }

    /// Sessions have taken messages for themselves: the proxies that had them on lease can take others.
    pub(super) fn note_taken(&mut self, notes: &[Note], turn: &mut Turn<'_>) {
        for note in notes {
            if let Note::Keep { group, position } = note
                && let Some(at) = self.groups.by_name(group)
            {
                self.groups.taken(at, *position);
                self.give(at, turn);
            }
        }
    }

    /// Sessions are about to take messages for themselves: these do not come back to their groups when a member leaves.
    pub(super) fn end_leases_of_kept(&mut self, notes: &[Note]) {
        for note in notes {
            if let Note::Keep { group, position } = note
                && let Some(at) = self.groups.by_name(group)
            {
                self.groups.taken(at, *position);
            }
        }
    }

    /// Gives what the last publication has brought groups.
    pub(super) fn give_reached(&mut self, turn: &mut Turn<'_>) {
        let reached = self.state.queues.take_reached();
        for queue in &reached {
            if let Some(at) = self.groups.of_queue(*queue) {
                self.give(at, turn);
            }
        }
        self.state.queues.return_reached(reached);
    }

    /// The hold is over: gives what groups have had since before it.
    pub(super) fn give_held(&mut self, turn: &mut Turn<'_>) {
        for at in self.groups.all() {
            self.give(at, turn);
        }
    }

    /// Gives messages of a group to proxies as far as they can take them. Not while publications are held: a proxy that
    /// had one on lease of an earlier leader, for a session that is taking it for itself, asks for that again.
    pub(super) fn give(&mut self, at: GroupAt, turn: &mut Turn<'_>) {
        if self.is_holding() {
            return;
        }
        let log_time_ms = self.clock.log_time_ms(turn.now);
        let mut gave = false;
        while let Some(position) = self.groups.next(at, &self.state.queues) {
            let content = match self.state.queues.read(position, log_time_ms) {
                Some((content, false)) => content,
                Some((_, true)) | None => {
                    self.groups.pass_over(at, position);
                    continue;
                }
            };
            let Self { groups, peers, .. } = self;
            let mut is_free = |part: &Part| {
                if !part.has_window() {
                    return false;
                }
                let Some(peer) = peers.get_mut(part.peer) else {
                    return false;
                };
                let takes = peer.ring.takes_leased() && turn.proxies.is_linked(part.peer);
                if !takes {
                    peer.stalled.insert(at);
                }
                takes
            };
            let message = match content {
                Content::Here(message) => message,
                // It goes on when that is there.
                Content::OnDisk { .. } => {
                    if groups.has_free(at, is_free) {
                        self.loads.wait(position, Reader::Group(at));
                    }
                    break;
                }
            };
            let Some(chosen) = groups.choose(at, &mut is_free) else {
                break;
            };
            let Some(lease) = self.groups.lease(at, chosen, position) else {
                break;
            };
            let Some(part) = self.groups.part(at, chosen) else {
                break;
            };
            let (key, filter_id) = (part.peer, part.filter_id);
            let bytes = message.charged_bytes();
            let delivery = Delivery::Shared(SharedMessage {
                filter_id,
                message: Arc::new(message),
                lease: Some(lease),
            });
            if let Some(peer) = self.peers.get_mut(key) {
                peer.ring.push_answer(delivery, bytes, turn.now);
            }
            self.counters.shared_deliveries_total += 1;
            self.send(key, turn);
            gave = true;
        }
        if gave {
            self.watch_silence(turn);
        }
    }

    /// A proxy can take deliveries again: groups that waited for that go on.
    pub(super) fn give_stalled(&mut self, key: PeerKey, turn: &mut Turn<'_>) {
        while let Some(peer) = self.peers.get_mut(key)
            && peer.ring.takes_leased()
            && let Some(at) = peer.stalled.pop_first()
        {
            self.give(at, turn);
            // The rest of it waits for the same again.
            if self.peers.get_mut(key).is_some_and(|peer| peer.stalled.contains(&at)) {
                return;
            }
        }
    }

    /// Gives a QoS 0 message to one proxy of each group that it matches. Returns whether there was a group.
    pub(super) fn share_qos_0(&mut self, message: &Arc<Message>, turn: &mut Turn<'_>) -> bool {
        if self.groups.is_empty() || message.qos != QoS::AtMostOnce {
            return false;
        }
        let queues: Vec<QueueId> = self.state.queues.find(&message.topic_name).queues;
        let mut is_shared = false;
        for queue in queues {
            let Some(at) = self.groups.of_queue(queue) else {
                continue;
            };
            is_shared = true;
            let Self { groups, peers, .. } = self;
            let chosen = groups.choose(at, |part| {
                let peer = peers.get_mut(part.peer);
                peer.is_some_and(|peer| peer.ring.takes_qos_0(message)) && turn.proxies.has_credit(part.peer)
            });
            let part = chosen.and_then(|chosen| self.groups.part(at, chosen));
            let Some((key, filter_id)) = part.map(|part| (part.peer, part.filter_id)) else {
                self.counters.shed_total += 1;
                continue;
            };
            let delivery = Delivery::Shared(SharedMessage {
                filter_id,
                message: Arc::clone(message),
                lease: None,
            });
            if let Some(peer) = self.peers.get_mut(key) {
                peer.ring.push_answer(delivery, message.charged_bytes(), turn.now);
            }
            self.counters.shared_deliveries_total += 1;
            self.send(key, turn);
        }
        is_shared
    }
}
