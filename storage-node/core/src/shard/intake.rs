//! Publications on their way in: held after a start or for want of room, then through the log where they leave
//! something behind, then routed.
//!
//! QoS >= 1 messages leave the intake in the order in which they came: a live one behind one that waits, for the log or
//! for room, waits with it. Only QoS 0 overtakes.

use std::collections::VecDeque;
use std::sync::Arc;

use freshet_storage_contract::{
    LastingNumbers, Message, Position, PublishBatch, PublishOutcome, PublishSeq, QoS, ShardId,
};

use super::Shard;
use super::publisher::Number;
use crate::facts::LinkFault;
use crate::incarnations::PeerKey;
use crate::log::{Command, CommitLog, KnownBy, LastingNumber, Publish};
use crate::planted::{planted, reached};
use crate::settings::LogRoom;
use crate::state::{Applied, Matched};
use crate::sys::SERVER_TOPICS;
use crate::turn::Turn;
use crate::usage::RetainedUsage;

/// Publications that are not routed yet.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// Publications that wait for the hold behind a start to end, or for room, or behind one that does.
    pub(super) held: VecDeque<Publication>,
    pub(super) held_bytes: usize,
    /// Publications that wait for an entry of the log, and those behind them.
    in_flight: VecDeque<InFlight>,
    /// Of these, QoS 0.
    qos_0_in_flight: usize,
}

/// A publication that waits for the log.
#[derive(Debug)]
struct InFlight {
    /// Its own entry; none: it only keeps its place behind one that has.
    position: Option<Position>,
    publication: Publication,
}

/// A message that has been taken in.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) source: Source,
    pub(super) message: Arc<Message>,
    /// What its proxy has numbered it, at QoS 1 and 2.
    pub(super) number: Option<LastingNumber>,
}

/// Who waits for its outcome.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Proxy {
        publisher: PeerKey,
        seq: PublishSeq,
    },
    /// Another shard, which needs to know only that it arrived, or the node itself.
    Effect,
}

impl Intake {
    /// Lets a publication wait for its entry, or behind others.
    fn wait(&mut self, position: Option<Position>, publication: Publication) {
        self.qos_0_in_flight += usize::from(publication.message.qos == QoS::AtMostOnce);
        self.in_flight.push_back(InFlight { position, publication });
    }

    /// Whether one waits that a publication of this QoS must not overtake (`[MQTT-4.6.0-6]`).
    fn has_in_flight(&self, qos: QoS) -> bool {
        match qos {
            QoS::AtMostOnce => self.qos_0_in_flight > 0,
            QoS::AtLeastOnce | QoS::ExactlyOnce => !self.in_flight.is_empty(),
        }
    }

    /// Takes the first publication, if it waits for this.
    fn next_behind(&mut self, position: Option<Position>) -> Option<Publication> {
        let publication = self.in_flight.pop_front_if(|w| w.position == position)?.publication;
        self.qos_0_in_flight -= usize::from(publication.message.qos == QoS::AtMostOnce);
        Some(publication)
    }
}

impl<L: CommitLog> Shard<L> {
    /// Publishes a message of QoS 0 of the node's own. It waits with the others while publications are held after a
    /// start. False: there is no room for it.
    pub(crate) fn publish_own(&mut self, message: Message, turn: &mut Turn<'_>) -> bool {
        let source = Source::Effect;
        let publication = Publication {
            source,
            message: Arc::new(message),
            number: None,
        };
        let is_taken = self.take_in(publication, turn);
        self.settle(turn);
        is_taken
    }

    /// Takes publications of a proxy.
    pub(crate) fn publish(&mut self, key: PeerKey, batch: PublishBatch, turn: &mut Turn<'_>) {
        let mut next = Some(batch.first.0);
        let mut lasting = batch.lasting;
        for message in batch.messages {
            let Some(peer) = self.peers.get_mut(key) else { break };
            let number = lasting
                .as_mut()
                .filter(|_| message.qos != QoS::AtMostOnce)
                .map(next_number);
            let last = peer.publisher.taken();
            let seq = PublishSeq(next.unwrap_or(u64::MAX));
            next = seq.0.checked_add(1);
            let fault = match peer.publisher.take(seq) {
                Number::Next => {
                    self.counters.publishes_total += 1;
                    let publication = Publication {
                        source: Source::Proxy { publisher: key, seq },
                        message,
                        number,
                    };
                    if self.take_in(publication, turn) {
                        continue;
                    }
                    LinkFault::HoldFull(self.id)
                }
                Number::Waiting => {
                    self.counters.publishes_repeated_total += 1;
                    if planted!(RepeatedPublishRouted) {
                        let source = Source::Proxy { publisher: key, seq };
                        let publication = Publication {
                            source,
                            message,
                            number: None,
                        };
                        self.take_in(publication, turn);
                    }
                    continue;
                }
                Number::Answered(outcome) => {
                    self.counters.publishes_repeated_total += 1;
                    if let Some(frame) = turn.frame(key) {
                        frame.outcome(self.id, seq, outcome);
                    }
                    continue;
                }
                Number::Confirmed => LinkFault::PublishForgotten {
                    shard: self.id,
                    found: seq,
                },
                Number::Gap => LinkFault::PublishGap {
                    shard: self.id,
                    last,
                    found: seq,
                },
                Number::TooMany => LinkFault::TooMuchUnderWay {
                    shard: self.id,
                    what: "publications",
                },
            };
            turn.fault(key, fault);
            break;
        }
        self.settle(turn);
    }

    /// Holds or submits a publication. False: it can be neither, and its number was given back.
    fn take_in(&mut self, publication: Publication, turn: &mut Turn<'_>) -> bool {
        let Some(publication) = self.try_submit(publication, turn) else {
            return true;
        };
        let bytes = publication.message.charged_bytes();
        if self.intake.held_bytes.saturating_add(bytes) > turn.settings.hold_bytes {
            if let Source::Proxy { publisher, .. } = publication.source
                && let Some(peer) = self.peers.get_mut(publisher)
            {
                peer.publisher.give_back();
                self.counters.publishes_total -= 1;
            }
            return false;
        }
        if !self.is_holding() {
            self.counters.publishes_held_total += 1;
        }
        self.intake.held_bytes += bytes;
        self.intake.held.push_back(publication);
        true
    }

    /// Submits a publication unless it has to be held.
    fn try_submit(&mut self, publication: Publication, turn: &mut Turn<'_>) -> Option<Publication> {
        if self.is_holding() {
            return Some(publication);
        }
        if publication.message.qos == QoS::AtMostOnce {
            if publication.message.retain && turn.settings.log_room == LogRoom::Hold {
                return Some(publication);
            }
            self.submit(publication, None, turn);
            return None;
        }
        if !self.intake.held.is_empty() {
            return Some(publication);
        }
        self.try_submit_next(publication, turn)
    }

    /// Submits a publication of QoS >= 1 whose turn it is, unless there is no room for what it leaves behind.
    fn try_submit_next(&mut self, publication: Publication, turn: &mut Turn<'_>) -> Option<Publication> {
        let matched = self.state.queues.find(&publication.message.topic_name);
        let message = &publication.message;
        let is_kept = message.retain || message.exactly_once.is_some() || self.may_match(&matched);
        match turn.settings.log_room {
            LogRoom::Hold if is_kept => return Some(publication),
            LogRoom::Refuse if is_kept => {
                self.counters.disk_full_refused_total += 1;
                self.finish(publication.source, 0, PublishOutcome::QuotaExceeded);
                return None;
            }
            LogRoom::Free | LogRoom::Hold | LogRoom::Refuse => {}
        }
        if !self.has_room_to_queue(&publication, &matched, turn) {
            return Some(publication);
        }
        self.submit(publication, Some(matched), turn);
        None
    }

    /// The hold is over: what was held is submitted in order.
    pub(super) fn route_held(&mut self, turn: &mut Turn<'_>) -> usize {
        self.end_unnamed_groups(turn);
        self.give_held(turn);
        let held = self.intake.held.len();
        self.submit_held(turn);
        held
    }

    /// Submits what is held, in order, as far as there is room.
    pub(super) fn submit_held(&mut self, turn: &mut Turn<'_>) {
        if self.is_holding() {
            return;
        }
        while let Some(publication) = self.intake.held.pop_front() {
            let bytes = publication.message.charged_bytes();
            if publication.message.qos == QoS::AtMostOnce {
                if publication.message.retain && turn.settings.log_room == LogRoom::Hold {
                    self.intake.held.push_front(publication);
                    return;
                }
                self.submit(publication, None, turn);
            } else if let Some(publication) = self.try_submit_next(publication, turn) {
                self.intake.held.push_front(publication);
                return;
            }
            self.intake.held_bytes -= bytes;
        }
        self.intake.held = VecDeque::new();
    }

    /// Whether publications wait for room.
    pub(super) fn waits_for_room(&self) -> bool {
        !self.is_holding() && !self.intake.held.is_empty()
    }

    /// Sends a publication through the log if it leaves something behind, else routes it in its turn. `matched` are the
    /// queues of one with QoS >= 1.
    fn submit(&mut self, mut publication: Publication, matched: Option<Matched>, turn: &mut Turn<'_>) {
        let message = &publication.message;
        if message.retain && !self.has_room_to_retain(message, turn) {
            self.counters.retained_refused_total += 1;
            self.finish(publication.source, 0, PublishOutcome::QuotaExceeded);
            return;
        }
        let exactly_once = if message.exactly_once.is_some() {
            let message = Arc::make_mut(&mut publication.message);
            message.exactly_once.take().filter(|_| message.qos == QoS::ExactlyOnce)
        } else {
            None
        };
        let message = &publication.message;
        let may_match = matched.as_ref().is_some_and(|matched| self.may_match(matched));
        if message.retain || exactly_once.is_some() || may_match {
            let known_by = match (exactly_once, publication.number) {
                (Some(of), _) => KnownBy::Exchange {
                    session_shard: turn.placement.shard_of_client(&of.client_id),
                    of: *of,
                },
                (None, Some(number)) => KnownBy::Number { number },
                (None, None) => KnownBy::Nothing,
            };
            let publish = self.entry_of(&publication.message, known_by, matched, turn);
            let position = Some(self.propose(Command::Publish(publish), turn));
            if planted!(AcknowledgedUnflushed) {
                self.finish(publication.source, 0, PublishOutcome::Delivered);
            }
            self.intake.wait(position, publication);
            self.advance(turn);
        } else if self.intake.has_in_flight(publication.message.qos) {
            self.intake.wait(None, publication);
        } else {
            self.route(publication, None, false, turn);
        }
    }

    /// Whether a durable filter or a group may want a message for which these queues were found.
    fn may_match(&self, matched: &Matched) -> bool {
        !matched.queues.is_empty() || self.ahead.brings_filters()
    }

    /// The entry of a publication.
    fn entry_of(
        &mut self,
        message: &Message,
        known_by: KnownBy,
        matched: Option<Matched>,
        turn: &Turn<'_>,
    ) -> Box<Publish> {
        let matched = match matched {
            Some(matched) => matched,
            None if message.qos == QoS::AtMostOnce => Matched::default(),
            None => self.state.queues.find(&message.topic_name),
        };
        Box::new(Publish {
            message: message.clone(),
            known_by,
            matched,
            limits: turn.settings.queue_limits,
        })
    }

    fn has_room_to_retain(&self, message: &Message, turn: &Turn<'_>) -> bool {
        if message.payload.is_empty() || message.topic_name.starts_with(SERVER_TOPICS) {
            return true;
        }
        if turn.settings.log_room == LogRoom::Refuse {
            return false;
        }
        // The node's sums hold this shard as of the last call; a batch may have stored more since.
        let mut used = turn.usage.retained;
        used.exchange(self.counted.retained, self.ahead.retained(&self.state));
        let replaced: RetainedUsage = self.ahead.retained_of(&message.topic_name, &self.state);
        used.allows(&turn.settings.retained_limits, message.charged_bytes() as u64, replaced)
    }

    /// A will of another shard arrives, perhaps again. While publications are held after a start it is not taken (false),
    /// and comes again; the bound on what is queued does not hold it up, since wills are bounded where they come from.
    pub(crate) fn receive_effect(&mut self, from: ShardId, number: u64, message: Message, turn: &mut Turn<'_>) -> bool {
        if number <= self.state.effects.last_taken(from) {
            self.carried.effect_applied(from, number);
            return true;
        }
        if self.is_holding() {
            return false;
        }
        if !self.carried.is_new_effect(from, number) {
            return true;
        }
        self.counters.publishes_total += 1;
        let refused = message.retain && !self.has_room_to_retain(&message, turn);
        let publish = if refused {
            self.counters.retained_refused_total += 1;
            None
        } else {
            Some(self.entry_of(&message, KnownBy::Nothing, None, turn))
        };
        let position = self.propose(Command::ReceiveEffect { from, number, publish }, turn);
        if !refused {
            let publication = Publication {
                source: Source::Effect,
                message: Arc::new(message),
                number: None,
            };
            self.intake.wait(Some(position), publication);
        }
        self.settle(turn);
        true
    }

    /// Applies what the log has committed: routes the publications and gives the answers that waited for it.
    pub(super) fn advance(&mut self, turn: &mut Turn<'_>) {
        while let Some((position, entry)) = self.log.next_committed() {
            let applied = self.state.apply(position, &entry);
            self.ahead.applied(position);
            reached!(Applied);
            self.note_applied(&entry.command, applied);
            match &entry.command {
                Command::ShareGroup { group, is_live: true } => {
                    self.bind_group(group, turn);
                    self.confirm_behind(position, turn);
                }
                Command::ReceiveNotes { notes, .. } => self.note_taken(notes, turn),
                Command::PassBy { proxy, is_passed: true } => self.passed_by(*proxy, turn),
                _ => {}
            }
            if let Some(publication) = self.intake.next_behind(Some(position)) {
                match applied {
                    Applied::Published { taken, .. } => {
                        let position = taken.durable.then_some(position);
                        self.route(publication, position, taken.shared, turn);
                        self.give_reached(turn);
                    }
                    // An earlier leader had it, and may have told nobody: who is queued for it finds it there, and who is
                    // not has it once more rather than never.
                    Applied::Repeated { first: Some(first) }
                        if first <= self.routed_behind && self.rerouted.insert(first) =>
                    {
                        self.route(publication, Some(first), false, turn);
                    }
                    // It was routed when it came first.
                    Applied::Repeated { .. } => self.finish(publication.source, 0, PublishOutcome::Delivered),
                    _ => {}
                }
            }
            while let Some(behind) = self.intake.next_behind(None) {
                self.route(behind, None, false, turn);
            }
            while let Some(awaited) = self.awaited.pop_front_if(|a| a.position == position) {
                self.reply(awaited, applied, turn);
            }
            reached!(Told);
        }
    }

    /// Counts what an entry did, and notes what its source shard is to be told.
    fn note_applied(&mut self, command: &Command, applied: Applied) {
        let counters = &mut self.counters;
        if let Applied::Published { taken, dropped } = applied {
            counters.queued_total += u64::from(taken.durable || taken.shared);
            counters.queue_dropped_count_total += dropped.by_count;
            counters.queue_dropped_bytes_total += dropped.by_bytes;
        }
        match (command, applied) {
            (Command::ReceiveEffect { from, number, .. }, _) => self.carried.effect_applied(*from, *number),
            (Command::ReceiveNotes { from, .. }, _) => {
                self.carried.notes_applied(*from, self.state.notes.last_taken(*from));
            }
            (Command::FireWill { .. } | Command::SendWill { .. }, Applied::Done) => counters.wills_published_total += 1,
            (Command::DropWill { .. }, Applied::Done) => counters.wills_dropped_total += 1,
            (Command::ExpireRetained { .. }, Applied::Gone(count)) => counters.retained_expired_total += count,
            (Command::ExpireQueued { .. }, Applied::Gone(count)) => counters.queue_expired_total += count,
            (Command::DropOldQueued { .. }, Applied::Gone(count)) => counters.queue_dropped_age_total += count,
            (Command::DropOutdated { .. }, Applied::Gone(count)) => counters.retention_dropped_age_total += count,
            (Command::DropThrough { .. }, Applied::Gone(count)) => counters.retention_dropped_bytes_total += count,
            (Command::ExpireSessions { .. }, Applied::Gone(count)) => counters.sessions_expired_total += count,
            (Command::AttachSession { .. }, Applied::Attached { present: true }) => {
                counters.sessions_resumed_total += 1;
            }
            (Command::Publish(_), Applied::Repeated { .. }) => counters.publishes_known_total += 1,
            _ => {}
        }
    }
}

/// Takes the next number of a batch.
fn next_number(lasting: &mut LastingNumbers) -> LastingNumber {
    let LastingNumbers { origin, first, oldest } = *lasting;
    lasting.first = first.saturating_add(1);
    LastingNumber {
        origin,
        number: first,
        oldest,
    }
}
