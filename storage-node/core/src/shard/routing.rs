//! From a publication to the rings of the proxies that want it, and from their acknowledgements to its outcome.

use std::time::Duration;

use freshet_storage_contract::{Position, PublishOutcome, QoS};

use super::Shard;
use super::intake::{Publication, Source};
use super::ring::{Pushed, Waiter};
use crate::facts::StorageFact;
use crate::log::CommitLog;
use crate::turn::Turn;

impl<L: CommitLog> Shard<L> {
    /// Puts one copy into the ring of each proxy that wants the message; `position` is where durable filters have queued
    /// it, if one has, and `is_shared` tells whether groups have.
    pub(super) fn route(
        &mut self,
        publication: Publication,
        position: Option<Position>,
        is_shared: bool,
        turn: &mut Turn<'_>,
    ) {
        let Publication { source, message, .. } = publication;
        let mut found = std::mem::take(&mut self.found);
        self.interest.find(&message.topic_name, turn.common, &mut found);
        let waiter = match source {
            Source::Proxy { publisher, seq } => Some(Waiter { publisher, seq }),
            Source::Effect => None,
        };
        let (mut receivers, mut waited) = (0_u32, 0_u32);
        for of_proxy in found.chunk_by(|a, b| a.slot == b.slot) {
            let Some(peer) = of_proxy.first().and_then(|s| self.peers.at_mut(s.slot)) else {
                continue;
            };
            let key = peer.key;
            let mut waits_to_pass = false;
            receivers += 1;
            let filter_ids = of_proxy.iter().map(|s| s.filter_id);
            if message.qos == QoS::AtMostOnce {
                if peer.ring.takes_qos_0(&message) && turn.proxies.has_credit(key) {
                    peer.ring.push_qos_0(filter_ids, &message, turn.now);
                    self.counters.deliveries_total += 1;
                } else {
                    self.counters.shed_total += 1;
                }
            } else {
                match peer.ring.push_message(filter_ids, &message, position, waiter, turn.now) {
                    Pushed::Waited => {
                        waited += 1;
                        self.counters.deliveries_total += 1;
                    }
                    Pushed::Unwaited => self.counters.deliveries_total += 1,
                    Pushed::Lost { waits } => {
                        waited += u32::from(waits);
                        self.counters.overrun_messages_total += 1;
                    }
                    Pushed::BecameFull { waits } => {
                        waited += u32::from(waits);
                        self.counters.overruns_total += 1;
                        self.counters.overrun_messages_total += 1;
                        // It counts as answered until it has caught up.
                        peer.ring.pass(&mut self.released);
                        if let Some(incarnation) = turn.proxies.get(key).map(|i| i.id) {
                            turn.out.fact(StorageFact::RingOverrun {
                                incarnation,
                                shard: self.id,
                            });
                        }
                    }
                }
                waits_to_pass = peer.ring.waits_to_pass();
            }
            if waits_to_pass {
                self.pass_by(key, turn);
            }
            self.send(key, turn);
        }
        found.clear();
        self.found = found;
        let is_shared = self.share_qos_0(&message, turn) || is_shared;
        let outcome = if receivers == 0 && position.is_none() && !is_shared {
            PublishOutcome::NoMatchingSubscribers
        } else {
            PublishOutcome::Delivered
        };
        self.finish(source, waited, outcome);
        self.release();
        if receivers > 0 || is_shared {
            self.watch_silence(turn);
        }
    }

    /// The fate of a publication is known, save for `proxies` whose acknowledgement is outstanding.
    pub(super) fn finish(&mut self, source: Source, proxies: u32, outcome: PublishOutcome) {
        if let Source::Proxy { publisher, seq } = source
            && let Some(peer) = self.peers.get_mut(publisher)
            && peer.publisher.routed(seq, proxies, outcome)
            && !std::mem::replace(&mut peer.publisher.has_news, true)
        {
            self.news.push(publisher);
        }
    }

    /// Tells publications that `self.released` no longer keeps them waiting.
    pub(super) fn release(&mut self) {
        for waiter in self.released.drain(..) {
            if let Some(peer) = self.peers.get_mut(waiter.publisher)
                && peer.publisher.released(waiter.seq)
                && !std::mem::replace(&mut peer.publisher.has_news, true)
            {
                self.news.push(waiter.publisher);
            }
        }
    }

    /// Answers what can be answered. Without link the outcome waits until the proxy asks again.
    pub(super) fn answer_publishers(&mut self, turn: &mut Turn<'_>) {
        for key in self.news.drain(..) {
            let Some(peer) = self.peers.get_mut(key) else { continue };
            peer.publisher.has_news = false;
            while let Some((seq, outcome)) = peer.publisher.next_outcome() {
                if let Some(frame) = turn.frame(key) {
                    frame.outcome(self.id, seq, outcome);
                }
            }
        }
    }

    /// Something was put into a ring: its proxy has to acknowledge something in time.
    pub(super) fn watch_silence(&mut self, turn: &Turn<'_>) {
        self.wake_at(turn.now.plus(Duration::from_millis(turn.settings.silent_after_ms)));
    }

    /// Marks proxies that have been silent for too long: publishers no longer wait for them once the log knows.
    pub(super) fn notice_silence(&mut self, turn: &mut Turn<'_>) {
        let mut silent = Vec::new();
        let after_ms = turn.settings.silent_after_ms;
        for peer in self.peers.living_mut() {
            if peer.ring.silence_begins(after_ms).is_some_and(|at| at <= turn.now) {
                peer.ring.fall_silent(&mut self.released);
                silent.push(peer.key);
                self.counters.silences_total += 1;
                if let Some(incarnation) = turn.proxies.get(peer.key).map(|i| i.id) {
                    turn.out.fact(StorageFact::ProxySilent {
                        incarnation,
                        shard: self.id,
                    });
                }
            }
        }
        self.release();
        for key in silent {
            self.pass_by(key, turn);
        }
        self.advance(turn);
    }
}
