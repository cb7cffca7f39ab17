//! Publications on their way in: held after a start, then through the log where they change the state, then routed.
//!
//! QoS >= 1 messages leave the intake in the order in which they came: a live one behind one that waits for the log
//! waits with it. Only QoS 0 overtakes.

use std::collections::VecDeque;

use freshet_storage_contract::{
    Message, MonotonicMs, Position, PublishBatch, PublishOutcome, PublishSeq, QoS, ShardId,
};

use super::Shard;
use super::publisher::Number;
use crate::facts::LinkFault;
use crate::incarnations::PeerKey;
use crate::log::{Command, CommitLog};
use crate::planted::planted;
use crate::state::Applied;
use crate::turn::Turn;
use crate::usage::RetainedUsage;

/// Publications that are not routed yet.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// Nothing is routed before.
    pub(super) hold_until: Option<MonotonicMs>,
    pub(super) held: VecDeque<Publication>,
    pub(super) held_bytes: usize,
    /// Publications that wait for an entry of the log, and those behind them.
    pub(super) in_flight: VecDeque<InFlight>,
}

/// A publication that waits for the log.
#[derive(Debug)]
pub(super) struct InFlight {
    /// Its own entry; none: it only keeps its place behind one that has.
    pub(super) position: Option<Position>,
    pub(super) publication: Publication,
}

/// A message that has been taken in.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) source: Source,
    pub(super) message: Message,
}

/// Who waits for its outcome.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Proxy {
        publisher: PeerKey,
        seq: PublishSeq,
    },
    /// Another shard, which needs to know only that it arrived.
    Effect,
}

impl<L: CommitLog> Shard<L> {
    /// Takes publications of a proxy.
    pub(crate) fn publish(&mut self, key: PeerKey, batch: PublishBatch, turn: &mut Turn<'_>) {
        let mut next = Some(batch.first.0);
        for message in batch.messages {
            let Some(peer) = self.peers.get_mut(key) else { break };
            let last = peer.publisher.taken();
            let seq = PublishSeq(next.unwrap_or(u64::MAX));
            next = seq.0.checked_add(1);
            let fault = match peer.publisher.take(seq) {
                Number::Next => {
                    self.counters.publishes_total += 1;
                    let publication = Publication {
                        source: Source::Proxy { publisher: key, seq },
                        message,
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
                        self.take_in(Publication { source, message }, turn);
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
        if self.intake.hold_until.is_none() {
            self.submit(publication, turn);
            return true;
        }
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
        self.intake.held_bytes += bytes;
        self.intake.held.push_back(publication);
        true
    }

    /// The hold is over: what was held is submitted in order.
    pub(super) fn end_hold(&mut self, turn: &mut Turn<'_>) -> usize {
        self.intake.hold_until = None;
        self.intake.held_bytes = 0;
        let held = std::mem::take(&mut self.intake.held);
        let count = held.len();
        for publication in held {
            self.submit(publication, turn);
        }
        count
    }

    /// Whether publications are held for want of interest.
    pub(crate) fn is_holding(&self) -> bool {
        self.intake.hold_until.is_some()
    }

    /// Sends a publication through the log if it changes the state, else routes it in its turn.
    fn submit(&mut self, publication: Publication, turn: &mut Turn<'_>) {
        if publication.message.retain {
            if !self.has_room_to_retain(&publication.message, turn) {
                self.counters.retained_refused_total += 1;
                self.finish(publication.source, 0, PublishOutcome::QuotaExceeded);
                return;
            }
            let command = Command::Retain {
                message: publication.message.clone(),
            };
            let position = Some(self.propose(command, turn));
            self.intake.in_flight.push_back(InFlight { position, publication });
            self.advance(turn);
        } else if publication.message.qos != QoS::AtMostOnce && !self.intake.in_flight.is_empty() {
            self.intake.in_flight.push_back(InFlight {
                position: None,
                publication,
            });
        } else {
            self.route(publication, turn);
        }
    }

    fn has_room_to_retain(&self, message: &Message, turn: &Turn<'_>) -> bool {
        if message.payload.is_empty() {
            return true;
        }
        // The node's sums hold this shard as of the last call; a batch may have stored more since.
        let mut used = turn.usage.retained;
        used.exchange(self.counted.retained, self.state.retained.usage());
        let replaced: RetainedUsage = self.state.retained.usage_of(&message.topic_name);
        used.allows(&turn.settings.retained_limits, message.charged_bytes() as u64, replaced)
    }

    /// An effect of another shard arrives. While publications are held it is not taken, and comes again.
    pub(crate) fn receive_effect(&mut self, from: ShardId, number: u64, message: Message, turn: &mut Turn<'_>) {
        if number <= self.state.effects.last_taken(from) {
            self.confirmations.push((from, number));
            return;
        }
        if self.is_holding() {
            return;
        }
        self.counters.publishes_total += 1;
        let refused = message.retain && !self.has_room_to_retain(&message, turn);
        if refused {
            self.counters.retained_refused_total += 1;
            self.propose(
                Command::ReceiveEffect {
                    from,
                    number,
                    message: None,
                },
                turn,
            );
        } else {
            let command = Command::ReceiveEffect {
                from,
                number,
                message: Some(message.clone()),
            };
            let position = Some(self.propose(command, turn));
            let publication = Publication {
                source: Source::Effect,
                message,
            };
            self.intake.in_flight.push_back(InFlight { position, publication });
        }
        self.settle(turn);
    }

    /// Applies what the log has committed, and routes the publications that waited for it.
    pub(super) fn advance(&mut self, turn: &mut Turn<'_>) {
        while let Some((position, entry)) = self.log.next_committed() {
            let applied = self.state.apply(position, &entry);
            match (&entry.command, applied) {
                (Command::ReceiveEffect { from, number, .. }, _) => self.confirmations.push((*from, *number)),
                (Command::FireWill { .. } | Command::SendWill { .. }, Applied::Done) => {
                    self.counters.wills_published_total += 1;
                }
                (Command::DropWill { .. }, Applied::Done) => self.counters.wills_dropped_total += 1,
                (Command::ExpireRetained { .. }, Applied::Expired(count)) => {
                    self.counters.retained_expired_total += count as u64;
                }
                _ => {}
            }
            if let Some(waiting) = self.intake.in_flight.pop_front_if(|w| w.position == Some(position))
                && applied == Applied::Done
            {
                self.route(waiting.publication, turn);
            }
            while let Some(behind) = self.intake.in_flight.pop_front_if(|w| w.position.is_none()) {
                self.route(behind.publication, turn);
            }
        }
    }
}
