//! UNSUBSCRIBE and UNSUBACK (MQTT 5.0, 3.10 and 3.11), and the other ways in which a subscription ends.

use std::borrow::Cow;

use bytes::Bytes;
use freshet_mqtt::{ReasonCode, TopicFilter, Unsubscribe};
use freshet_storage_contract::{RequestId, SessionChange};

use super::durable::Held;
use super::subscribe::{SubAckPart, name_of};
use super::{Connection, Context, Ending};
use crate::filters::FilterKey;
use crate::worker::Request;

impl Connection {
    /// Takes an UNSUBSCRIBE. What was queued before may still be sent (MQTT 5.0, 3.10.4).
    pub(super) fn on_unsubscribe(&mut self, packet: &Unsubscribe<'_>, cx: &mut Context<'_>) -> Result<(), Ending> {
        let mut codes = Vec::with_capacity(packet.filters.len());
        let (mut gone, mut unconfirmed) = (Vec::new(), Vec::new());
        for topic_filter in packet.filters.iter() {
            let Some(key) = subscription_to(topic_filter, cx) else {
                codes.push(ReasonCode::NoSubscriptionExisted);
                continue;
            };
            let parts = self.drop_subscription(key, cx);
            unconfirmed.extend(parts.into_iter().map(|part| (key, part)));
            gone.push(name_of(topic_filter));
            codes.push(ReasonCode::Success);
        }
        let packet_id = packet.packet_id;
        let follows = gone.is_empty()
            && self
                .durable_mut()
                .is_some_and(|durable| durable.follow(packet_id, &codes, cx.now));
        if follows {
            return Ok(());
        }
        let Some(durable) = self.durable_mut().filter(|_| !gone.is_empty()) else {
            for (_, part) in unconfirmed {
                self.confirm(Some(part), cx)?;
            }
            return self.send_unsuback(packet_id, &codes, cx);
        };
        // UNSUBACK waits for storage, or the next connection could have the subscription again.
        let unsubscribe = |topic_filter: Cow<'_, str>| SessionChange::Unsubscribe {
            topic_filter: Bytes::copy_from_slice(topic_filter.as_bytes()),
        };
        for topic_filter in gone {
            durable.push(unsubscribe(topic_filter), None, cx.now);
        }
        // So does SUBACK of what ends before it was kept: storage still has the subscription that it replaced.
        for (key, part) in unconfirmed {
            let suback = Some(part);
            durable.wait(Held::SubAck { suback, key }, cx.now);
        }
        durable.wait(Held::UnsubAck(packet_id, codes), cx.now);
        self.schedule_update(cx);
        self.arm(cx);
        Ok(())
    }

    /// Ends a subscription; returns the parts of SUBACKs that will not be confirmed any more.
    fn drop_subscription(&mut self, key: FilterKey, cx: &mut Context<'_>) -> Vec<SubAckPart> {
        let slot = cx.token.slot();
        let mut unconfirmed = Vec::new();
        let Some(session) = &mut self.cold.session else {
            return unconfirmed;
        };
        if let Some(durable) = &mut session.durable {
            for pull in durable.unsubscribe(key) {
                cx.shared.withdraw_read(pull, cx.out);
            }
        }
        session.subscriptions.retain(|k| *k != key);
        let open = session.requests.as_ref().map(|r| r.open.clone()).unwrap_or_default();
        // What has not been sent is for the members that stay.
        if cx.shared.filters.is_group(key)
            && let (Some(filter_id), Some(outbound)) = (cx.shared.filters.filter_id(key), &mut self.outbound)
        {
            for lease in outbound.take_shared(filter_id) {
                cx.shared.return_lease(&lease);
            }
            // The answer, which would do it, may have to wait.
            self.settle(cx.shared);
        }
        let released = cx.shared.filters.unsubscribe(key, slot);
        cx.shared.stats.subscriptions_now = cx.shared.stats.subscriptions_now.saturating_sub(1);
        // Requests under way first: the link is told in the order in which it was asked.
        for id in open {
            if let Some(Request::Subscribe(request)) = cx.shared.requests.get_mut(id)
                && request.key == key
            {
                unconfirmed.extend(request.suback.take());
                cx.shared.withdraw(id, cx.out);
                self.close_request(id);
            }
        }
        if let Some(released) = released {
            cx.shared.tell_left(key, released, cx.out);
        }
        unconfirmed
    }

    /// There is no room for a subscription: SUBACK says so, and what was there before goes with it.
    ///
    /// # Errors
    /// [`Ending`].
    pub(crate) fn refuse_subscription(
        &mut self,
        part: Option<SubAckPart>,
        key: FilterKey,
        cx: &mut Context<'_>,
    ) -> Result<(), Ending> {
        let Some(part) = part else { return Ok(()) };
        let subacks = self.cold.session.as_mut().and_then(|s| s.requests.as_mut());
        let pending = subacks.and_then(|r| r.subacks.iter_mut().find(|s| s.number == part.number));
        if let Some(code) = pending.and_then(|p| p.codes.get_mut(part.index)) {
            *code = ReasonCode::QuotaExceeded;
        }
        if part.is_new {
            for part in self.drop_subscription(key, cx) {
                self.confirm(Some(part), cx)?;
            }
        }
        self.confirm(Some(part), cx)
    }

    /// A shard has no room for a subscription.
    ///
    /// # Errors
    /// [`Ending`].
    pub(crate) fn on_subscription_refused(&mut self, id: RequestId, cx: &mut Context<'_>) -> Result<(), Ending> {
        let Some(Request::Subscribe(request)) = cx.shared.requests.get_mut(id) else {
            return Ok(());
        };
        let (part, key) = (request.suback.take(), request.key);
        cx.shared.withdraw(id, cx.out);
        self.close_request(id);
        self.refuse_subscription(part, key, cx)
    }

    /// The session ends: nothing that was asked for is wanted any more.
    pub(crate) fn drop_subscriptions(&mut self, cx: &mut Context<'_>) {
        let Some(session) = &mut self.cold.session else { return };
        for id in session.durable.iter().flat_map(|d| d.reads_under_way()) {
            cx.shared.withdraw_read(id, cx.out);
        }
        for id in session.requests.take().map(|r| r.open).unwrap_or_default() {
            cx.shared.withdraw(id, cx.out);
        }
        let slot = cx.token.slot();
        for key in std::mem::take(&mut session.subscriptions) {
            cx.shared.stats.subscriptions_now = cx.shared.stats.subscriptions_now.saturating_sub(1);
            if let Some(released) = cx.shared.filters.unsubscribe(key, slot) {
                cx.shared.tell_left(key, released, cx.out);
            }
        }
    }
}

/// The client's subscription to a filter.
fn subscription_to(topic_filter: TopicFilter<'_>, cx: &Context<'_>) -> Option<FilterKey> {
    let filters = &cx.shared.filters;
    let key = filters.find(name_of(topic_filter).as_bytes())?;
    filters.subscriber(key, cx.token.slot()).map(|_| key)
}
