//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (MQTT 5.0, 3.8 to 3.11), and what comes of a subscription in between.
//!
//! SUBACK leaves when every shard of every filter has confirmed. A subscription that is already there keeps its place:
//! its options change at once and nothing is missed (MQTT-3.8.4-3).

use std::num::NonZeroU16;

use freshet_mqtt::{
    ReasonCode, ReasonCodes, RetainHandling, SubAck, Subscribe, SubscribeFilter, TopicFilter, UnsubAck, Unsubscribe,
};
use freshet_storage_contract::{FilterShards, MonotonicMs, RequestId, ShardId};

use super::connect::topic_is_allowed;
use super::session::Session;
use super::{Connection, Context, Ending, Pause, Step, explanation};
use crate::filters::{FilterKey, ShardSet, Subscriber};
use crate::worker::{ConnectionToken, Read, Request};

/// A SUBSCRIBE without SUBACK.
#[derive(Debug)]
pub(crate) struct PendingSuback {
    number: u32,
    packet_id: NonZeroU16,
    codes: Vec<ReasonCode>,
    /// Topic filters that are not confirmed.
    left: usize,
    pub(crate) since: MonotonicMs,
}

/// One topic filter of a SUBSCRIBE, until it is confirmed everywhere and its retained messages have come.
#[derive(Debug)]
pub(crate) struct SubscribeRequest {
    pub(crate) token: ConnectionToken,
    pub(crate) key: FilterKey,
    /// Which SUBACK it holds up; none: that was sent.
    suback: Option<u32>,
    pub(crate) wants_retained: bool,
    /// Whether the link has been asked.
    pub(crate) is_asked: bool,
    /// Shards of the filter; none until the link has named them.
    shards: Option<u16>,
    joined: ShardSet,
    joined_count: u16,
    /// Shards whose last retained message has come.
    read_count: u16,
    /// Retained reads that it takes up of the worker's.
    pub(crate) reads: u16,
}

impl SubscribeRequest {
    /// The link has named the shards.
    pub(crate) fn set_shards(&mut self, shards: u16) {
        self.shards = Some(shards);
    }

    /// Whether the link has named the shards.
    pub(crate) fn is_named(&self) -> bool {
        self.shards.is_some()
    }

    /// A shard has confirmed. True: it was the last one.
    pub(crate) fn join(&mut self, shard: ShardId) -> bool {
        if !self.joined.insert(shard) {
            return false;
        }
        self.joined_count += 1;
        Some(self.joined_count) == self.shards
    }

    /// A shard's last retained message has come.
    pub(crate) fn has_read(&mut self) {
        self.read_count = self.read_count.saturating_add(1);
    }

    /// Whether nothing more will come of it.
    pub(crate) fn is_done(&self) -> bool {
        self.shards
            .is_some_and(|shards| self.joined_count >= shards && (!self.wants_retained || self.read_count >= shards))
    }
}

impl Connection {
    /// Takes a SUBSCRIBE.
    pub(super) fn on_subscribe(&mut self, subscribe: &Subscribe<'_>, cx: &mut Context<'_>) -> Result<Step, Ending> {
        let Some(placement) = cx.shared.placement.clone() else {
            return Ok(Step::Hold(Pause::Window));
        };
        let max_qos = self.max_qos();
        let Some(session) = &mut self.cold.session else {
            return Ok(Step::Next);
        };
        let config = &self.cold.config;
        let pending: usize = session.requests.iter().flat_map(|r| &r.subacks).map(|s| s.left).sum();
        if pending > 0 && pending + subscribe.filters.len() > config.client_limits.subscriptions.max(1) as usize {
            return Ok(Step::Hold(Pause::Window));
        }
        let suback = session.requests_mut().next_suback;
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        let mut requests = Vec::new();
        for mut filter in subscribe.filters.iter() {
            // MQTT-3.2.2-10
            filter.options.qos = filter.options.qos.min(max_qos);
            let name = filter.topic_filter.as_str();
            let code = if filter.topic_filter.shared().is_some() {
                Err(ReasonCode::SharedSubscriptionsNotSupported)
            } else if !topic_is_allowed(name, &config.mqtt) {
                Err(ReasonCode::TopicFilterInvalid)
            } else if !cx.shared.authorization.may_subscribe(filter.topic_filter.unshared()) {
                Err(ReasonCode::NotAuthorized)
            } else {
                let limit = config.client_limits.subscriptions as usize;
                let identifier = subscribe.subscription_identifier.unwrap_or(0);
                add_subscription(session, &filter, identifier, limit, cx)
            };
            let granted = match code {
                Ok(added) => {
                    requests.push(SubscribeRequest {
                        token: cx.token,
                        key: added.key,
                        suback: Some(suback),
                        wants_retained: added.wants_retained,
                        is_asked: false,
                        shards: None,
                        joined: ShardSet::default(),
                        joined_count: 0,
                        read_count: 0,
                        reads: match placement.shards_of_filter(name) {
                            _ if !added.wants_retained => 0,
                            FilterShards::One(_) => 1,
                            FilterShards::All => placement.shards(),
                        },
                    });
                    granted(filter.options.qos)
                }
                Err(code) => {
                    cx.shared.stats.count_refused_subscription(code);
                    code
                }
            };
            codes.push(granted);
        }
        let left = requests.len();
        if left == 0 {
            session.forget_requests();
            self.send_suback(subscribe.packet_id, &codes, cx)?;
            return Ok(Step::Next);
        }
        let pending = PendingSuback {
            number: suback,
            packet_id: subscribe.packet_id,
            codes,
            left,
            since: cx.now,
        };
        let open = session.requests_mut();
        open.next_suback = suback.wrapping_add(1);
        open.subacks.push(pending);
        for request in requests {
            let id = cx.shared.requests.add(Request::Subscribe(Box::new(request)));
            open.open.push(id);
            cx.shared.ask_for_subscription(id, cx.out);
        }
        self.arm(cx);
        Ok(Step::Next)
    }

    /// Takes an UNSUBSCRIBE. What was queued before may still be sent (MQTT 5.0, 3.10.4).
    pub(super) fn on_unsubscribe(&mut self, packet: &Unsubscribe<'_>, cx: &mut Context<'_>) -> Result<(), Ending> {
        let mut codes = Vec::with_capacity(packet.filters.len());
        for topic_filter in packet.filters.iter() {
            codes.push(self.remove_subscription(topic_filter, cx)?);
        }
        let packet_id = packet.packet_id;
        self.answer(cx, |peer, out| {
            UnsubAck::new(packet_id, ReasonCodes::from_slice(&codes)).encode(peer, out)
        })
    }

    fn remove_subscription(
        &mut self,
        topic_filter: TopicFilter<'_>,
        cx: &mut Context<'_>,
    ) -> Result<ReasonCode, Ending> {
        let slot = cx.token.slot();
        let found = cx.shared.filters.find(topic_filter.as_str().as_bytes());
        let found = found.filter(|key| cx.shared.filters.subscriber(*key, slot).is_some());
        let (Some(key), Some(session)) = (found, &mut self.cold.session) else {
            return Ok(ReasonCode::NoSubscriptionExisted);
        };
        session.subscriptions.retain(|k| *k != key);
        let open = session.requests.as_ref().map(|r| r.open.clone()).unwrap_or_default();
        let released = cx.shared.filters.unsubscribe(key, slot);
        cx.shared.stats.subscriptions_now = cx.shared.stats.subscriptions_now.saturating_sub(1);
        // Requests under way first: the link is told in the order in which it was asked.
        for id in open {
            if let Some(Request::Subscribe(request)) = cx.shared.requests.get_mut(id)
                && request.key == key
            {
                let suback = request.suback.take();
                cx.shared.withdraw(id, cx.out);
                self.close_request(id);
                self.confirm(suback, cx)?;
            }
        }
        if let Some(released) = released {
            cx.shared.tell_release(released, cx.out);
        }
        Ok(ReasonCode::Success)
    }

    /// Every shard has confirmed one topic filter.
    ///
    /// # Errors
    /// [`Ending`].
    pub(crate) fn on_joined(&mut self, id: RequestId, cx: &mut Context<'_>) -> Result<(), Ending> {
        let Some(Request::Subscribe(request)) = cx.shared.requests.get_mut(id) else {
            return Ok(());
        };
        let suback = request.suback.take();
        if request.is_done() {
            cx.shared.requests.remove(id);
            self.close_request(id);
        }
        self.confirm(suback, cx)
    }

    /// The last retained message of a shard has come.
    pub(crate) fn on_read(&mut self, id: RequestId, cx: &mut Context<'_>) {
        if let Some(Request::Subscribe(request)) = cx.shared.requests.get_mut(id)
            && request.is_done()
        {
            cx.shared.requests.remove(id);
            self.close_request(id);
        }
    }

    /// The client has room for more retained messages of a shard, or will have.
    pub(crate) fn on_more_retained(&mut self, id: RequestId, shard: ShardId, cx: &mut Context<'_>) {
        if let Some(session) = &mut self.cold.session {
            session.requests_mut().retained.push((id, shard));
        }
        self.ask_for_retained(cx);
    }

    /// Asks for retained messages that wait, if the client has read most of what it was sent.
    pub(crate) fn ask_for_retained(&mut self, cx: &mut Context<'_>) {
        let queued = self.outbound.as_ref().map_or(0, |o| o.total_bytes());
        let Some(requests) = self.cold.session.as_mut().and_then(|s| s.requests.as_mut()) else {
            return;
        };
        if requests.retained.is_empty() || queued > self.outbound_limit as usize / 2 {
            return;
        }
        for (id, shard) in std::mem::take(&mut requests.retained) {
            cx.shared.read_on(Read::More(id, shard), cx.out);
        }
    }

    /// Forgets a request.
    fn close_request(&mut self, id: RequestId) {
        if let Some(session) = &mut self.cold.session {
            if let Some(requests) = &mut session.requests {
                requests.open.retain(|open| *open != id);
                requests.retained.retain(|(of, _)| *of != id);
            }
            session.forget_requests();
        }
    }

    /// One topic filter of a SUBSCRIBE is confirmed; with the last one SUBACK leaves (MQTT-3.8.4-1).
    fn confirm(&mut self, suback: Option<u32>, cx: &mut Context<'_>) -> Result<(), Ending> {
        let (Some(number), Some(session)) = (suback, &mut self.cold.session) else {
            return Ok(());
        };
        let Some(requests) = &mut session.requests else {
            return Ok(());
        };
        let Some(at) = requests.subacks.iter().position(|s| s.number == number) else {
            return Ok(());
        };
        let Some(pending) = requests.subacks.get_mut(at) else {
            return Ok(());
        };
        pending.left = pending.left.saturating_sub(1);
        if pending.left > 0 {
            return Ok(());
        }
        let done = requests.subacks.remove(at);
        session.forget_requests();
        if self.paused == Some(Pause::Window) {
            cx.shared.to_resume.push(cx.token);
        }
        self.send_suback(done.packet_id, &done.codes, cx)
    }

    fn send_suback(&mut self, packet_id: NonZeroU16, codes: &[ReasonCode], cx: &mut Context<'_>) -> Result<(), Ending> {
        // MQTT-3.8.4-6: one code per filter, in order.
        self.answer(cx, |peer, out| {
            let mut suback = SubAck::new(packet_id, ReasonCodes::from_slice(codes));
            suback.reason_string = codes.iter().find_map(|code| explanation::of_subscribe(*code));
            suback.encode(peer, out)
        })
    }
}

struct Added {
    key: FilterKey,
    wants_retained: bool,
}

/// Adds a subscription or replaces its options.
fn add_subscription(
    session: &mut Session,
    filter: &SubscribeFilter<'_>,
    identifier: u32,
    limit: usize,
    cx: &mut Context<'_>,
) -> Result<Added, ReasonCode> {
    let (slot, name, options) = (cx.token.slot(), filter.topic_filter.as_str().as_bytes(), filter.options);
    let filters = &mut cx.shared.filters;
    let known = filters
        .find(name)
        .is_some_and(|key| filters.subscriber(key, slot).is_some());
    if !known && session.subscriptions.len() >= limit {
        return Err(ReasonCode::QuotaExceeded);
    }
    let subscriber = Subscriber::new(
        slot,
        identifier,
        options.qos,
        options.no_local || session.is_bridge,
        options.retain_as_published || session.is_bridge,
    );
    let key = filters.want(name);
    if filters.subscribe(key, subscriber) {
        session.subscriptions.push(key);
        cx.shared.stats.subscriptions_now += 1;
    }
    // MQTT-3.3.1-9 to -11
    let wants_retained = match options.retain_handling {
        RetainHandling::Send => true,
        RetainHandling::SendIfNew => !known,
        RetainHandling::DoNotSend => false,
    };
    Ok(Added { key, wants_retained })
}

fn granted(qos: freshet_mqtt::QoS) -> ReasonCode {
    match qos {
        freshet_mqtt::QoS::AtMostOnce => ReasonCode::GRANTED_QOS_0,
        freshet_mqtt::QoS::AtLeastOnce => ReasonCode::GrantedQos1,
        freshet_mqtt::QoS::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}

impl Connection {
    /// The session ends: nothing that was asked for is wanted any more.
    pub(crate) fn drop_subscriptions(&mut self, cx: &mut Context<'_>) {
        let Some(session) = &mut self.cold.session else { return };
        for id in session.requests.take().map(|r| r.open).unwrap_or_default() {
            cx.shared.withdraw(id, cx.out);
        }
        let slot = cx.token.slot();
        for key in std::mem::take(&mut session.subscriptions) {
            cx.shared.stats.subscriptions_now = cx.shared.stats.subscriptions_now.saturating_sub(1);
            if let Some(released) = cx.shared.filters.unsubscribe(key, slot) {
                cx.shared.tell_release(released, cx.out);
            }
        }
    }
}
