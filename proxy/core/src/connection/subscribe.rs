//! SUBSCRIBE and SUBACK (MQTT 5.0, 3.8 and 3.9), and what comes of a subscription in between.
//!
//! SUBACK leaves when every shard of every filter has confirmed. A subscription that is already there keeps its place:
//! its options change at once and nothing is missed (MQTT-3.8.4-3).

use std::borrow::Cow;
use std::num::NonZeroU16;

use freshet_mqtt::{ReasonCode, ReasonCodes, RetainHandling, SubAck, Subscribe, SubscribeFilter, TopicFilter};
use freshet_storage_contract::{FilterShards, MonotonicMs, RequestId, SessionChange, ShardId, ShardSet};

use super::connect::topic_is_allowed;
use super::durable::Held;
use super::session::Session;
use super::{Connection, Context, Ending, Pause, Step, explanation};
use crate::filters::{FilterKey, Subscriber};
use crate::planted::planted;
use crate::worker::{ConnectionToken, Read, Request};

/// A SUBSCRIBE without SUBACK.
#[derive(Debug)]
pub(crate) struct PendingSuback {
    pub(super) number: u32,
    packet_id: NonZeroU16,
    pub(super) codes: Vec<ReasonCode>,
    /// Topic filters that are not confirmed.
    left: usize,
    pub(crate) since: MonotonicMs,
}

/// Which code of which SUBACK a topic filter has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubAckPart {
    pub(super) number: u32,
    pub(super) index: usize,
    /// The client did not have the subscription before.
    pub(super) is_new: bool,
}

/// One topic filter of a SUBSCRIBE or of a session that comes back, until it is confirmed everywhere and its retained messages have come.
#[derive(Debug)]
pub(crate) struct SubscribeRequest {
    pub(crate) token: ConnectionToken,
    pub(crate) key: FilterKey,
    /// Which SUBACK it holds up; none: that was sent, or there is none.
    pub(super) suback: Option<SubAckPart>,
    /// The session came back with it: CONNACK waits for it.
    pub(crate) is_restored: bool,
    /// Storage is to be told of it.
    is_changed: bool,
    /// What matches is to be queued from now on, for sessions of this shard.
    pub(crate) durable: Option<ShardId>,
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
    /// The subscription of a session that comes back.
    pub(crate) fn restored(token: ConnectionToken, key: FilterKey) -> Self {
        Self {
            token,
            key,
            suback: None,
            is_restored: true,
            is_changed: false,
            durable: None,
            wants_retained: false,
            is_asked: false,
            shards: None,
            joined: ShardSet::default(),
            joined_count: 0,
            read_count: 0,
            reads: 0,
        }
    }

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
            // MQTT 5.0, 3.2.2.3.4: granted less, not refused (MQTT-3.2.2-10)
            filter.options.qos = filter.options.qos.min(max_qos);
            let name = name_of(filter.topic_filter);
            let name = name.as_ref();
            let code = if filter.topic_filter.shared().is_some() && !cx.shared.shares {
                Err(ReasonCode::SharedSubscriptionsNotSupported)
            } else if !topic_is_allowed(name, &config.mqtt) {
                Err(ReasonCode::TopicFilterInvalid)
            } else if !cx.shared.authorization.may_subscribe(filter.topic_filter.unshared()) {
                Err(ReasonCode::NotAuthorized)
            } else {
                let limit = config.client_limits.subscriptions as usize;
                let identifier = subscribe.subscription_identifier.unwrap_or(0);
                add_subscription(session, (&filter, name), identifier, limit, cx)
            };
            let granted = match code {
                Ok(added) => {
                    requests.push(SubscribeRequest {
                        token: cx.token,
                        key: added.key,
                        suback: Some(SubAckPart {
                            number: suback,
                            index: codes.len(),
                            is_new: added.is_new,
                        }),
                        is_restored: false,
                        is_changed: added.is_changed,
                        durable: added.durable,
                        wants_retained: added.wants_retained,
                        is_asked: false,
                        shards: None,
                        joined: ShardSet::default(),
                        joined_count: 0,
                        read_count: 0,
                        reads: match placement.shards_of_filter(filter.topic_filter.unshared()) {
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

    /// Every shard has confirmed one topic filter.
    ///
    /// # Errors
    /// [`Ending`].
    pub(crate) fn on_joined(&mut self, id: RequestId, cx: &mut Context<'_>) -> Result<(), Ending> {
        let Some(Request::Subscribe(request)) = cx.shared.requests.get_mut(id) else {
            return Ok(());
        };
        let (suback, key) = (request.suback.take(), request.key);
        let (is_restored, is_changed) = (request.is_restored, request.is_changed);
        if request.is_done() {
            cx.shared.requests.remove(id);
            self.close_request(id);
        }
        if is_restored {
            return if self.on_restored() { self.accept(cx) } else { Ok(()) };
        }
        if is_changed && self.commit_subscription(suback, key, cx) {
            return Ok(());
        }
        self.confirm(suback, cx)
    }

    /// Has storage keep a subscription; SUBACK waits for it. False: the session ends with its connection.
    fn commit_subscription(&mut self, suback: Option<SubAckPart>, key: FilterKey, cx: &mut Context<'_>) -> bool {
        let Some(session) = &mut self.cold.session else {
            return false;
        };
        let Some(stored) = session.stored_subscription(key, &cx.shared.filters, cx.token.slot()) else {
            return false;
        };
        let Some(durable) = &mut session.durable else {
            return false;
        };
        let change = SessionChange::Subscribe(stored);
        durable.subscribe(change, key, Held::SubAck { suback, key }, cx.now);
        self.schedule_update(cx);
        self.arm(cx);
        true
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
    pub(super) fn close_request(&mut self, id: RequestId) {
        if let Some(session) = &mut self.cold.session {
            if let Some(requests) = &mut session.requests {
                requests.open.retain(|open| *open != id);
                requests.retained.retain(|(of, _)| *of != id);
            }
            session.forget_requests();
        }
    }

    /// One topic filter of a SUBSCRIBE is confirmed; with the last one SUBACK leaves (MQTT-3.8.4-1).
    pub(crate) fn confirm(&mut self, suback: Option<SubAckPart>, cx: &mut Context<'_>) -> Result<(), Ending> {
        let (Some(SubAckPart { number, .. }), Some(session)) = (suback, &mut self.cold.session) else {
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
    is_new: bool,
    /// A session that outlives its connection has it new, or with other options.
    is_changed: bool,
    durable: Option<ShardId>,
}

/// Adds a subscription or replaces its options.
fn add_subscription(
    session: &mut Session,
    (filter, name): (&SubscribeFilter<'_>, &str),
    identifier: u32,
    limit: usize,
    cx: &mut Context<'_>,
) -> Result<Added, ReasonCode> {
    let (slot, name, options) = (cx.token.slot(), name.as_bytes(), filter.options);
    let is_shared = filter.topic_filter.shared().is_some();
    let filters = &mut cx.shared.filters;
    let known_as = filters
        .find(name)
        .and_then(|key| filters.subscriber(key, slot))
        .copied();
    let known = known_as.is_some();
    if !known && session.subscriptions.len() >= limit {
        return Err(ReasonCode::QuotaExceeded);
    }
    let subscriber = Subscriber::new(
        slot,
        identifier,
        options.qos,
        options.no_local || (session.is_bridge && !is_shared),
        options.retain_as_published || session.is_bridge,
    );
    let key = filters.want(name);
    if planted!(CursorResetOnResubscribe)
        && let Some(durable) = &mut session.durable
    {
        durable.unsubscribe(key);
    }
    // What is queued for the session already keeps its place (MQTT-3.8.4-4).
    let durable = session
        .durable
        .as_ref()
        .filter(|durable| options.qos != freshet_mqtt::QoS::AtMostOnce && !durable.reads(key))
        .map(|durable| durable.shard);
    let is_changed = session.durable.as_ref().is_some_and(|known_to| {
        let is_same = known_as.is_some_and(|known| known.has_options_of(&subscriber));
        durable.is_some() || !is_same || known_to.is_committing(key)
    });
    if filters.subscribe(key, subscriber) {
        session.subscriptions.push(key);
        cx.shared.stats.subscriptions_now += 1;
    }
    filters.join_group(key, slot, session.inflight.window());
    // MQTT-3.3.1-9 to -11
    let wants_retained = match options.retain_handling {
        // MQTT 5.0, 4.8.2: not for a shared subscription.
        _ if is_shared => false,
        RetainHandling::Send => true,
        RetainHandling::SendIfNew => !known,
        RetainHandling::DoNotSend => false,
    };
    Ok(Added {
        key,
        wants_retained,
        is_new: !known,
        is_changed,
        durable,
    })
}

/// The name of a subscription. `$queue/filter` is another way to write `$share/$queue/filter`.
pub(super) fn name_of(topic_filter: TopicFilter<'_>) -> Cow<'_, str> {
    match topic_filter.shared() {
        Some(shared) if !topic_filter.as_str().starts_with("$share/") => {
            Cow::Owned(format!("$share/{}/{}", shared.group, shared.filter))
        }
        _ => Cow::Borrowed(topic_filter.as_str()),
    }
}

fn granted(qos: freshet_mqtt::QoS) -> ReasonCode {
    match qos {
        freshet_mqtt::QoS::AtMostOnce => ReasonCode::GRANTED_QOS_0,
        freshet_mqtt::QoS::AtLeastOnce => ReasonCode::GrantedQos1,
        freshet_mqtt::QoS::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}
