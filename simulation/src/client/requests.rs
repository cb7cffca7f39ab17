//! SUBSCRIBE and UNSUBSCRIBE of a client, and their answers.

use freshet_mqtt::{
    ClientPacket, PacketId, QoS, ReasonCode, ReasonCodes, Subscribe, SubscribeFilter, SubscribeFilters,
    SubscriptionOptions, TopicFilter, Unsubscribe, UnsubscribeFilters, UserProperties,
};

use super::Client;
use crate::action::SubscribeOptions;
use crate::history::{Answered, History, Options, Request};
use crate::violation::Violation;

/// A SUBSCRIBE or UNSUBSCRIBE without answer.
#[derive(Debug)]
pub(super) struct Pending {
    is_subscribe: bool,
    /// Indexes of its filters in the history, in their order.
    requests: Vec<usize>,
}

impl Client {
    /// SUBSCRIBE. `identifier` 0: none.
    pub(crate) fn subscribe(
        &mut self,
        filters: &[(&'static str, SubscribeOptions)],
        identifier: u32,
        history: &mut History,
    ) {
        if !self.is_connected {
            return;
        }
        let is_5 = self.is_5();
        let identifier = (is_5 && identifier > 0).then_some(identifier);
        let mut requests = Vec::new();
        let mut wanted = Vec::new();
        let sent = history.next();
        for (filter, options) in filters {
            let Ok(topic_filter) = TopicFilter::parse(filter) else {
                continue;
            };
            let mut options = SubscriptionOptions {
                qos: options.qos,
                no_local: options.no_local,
                retain_as_published: options.retain_as_published,
                retain_handling: options.retain_handling,
            };
            if !is_5 {
                options = SubscriptionOptions::new(options.qos);
            }
            history.say(|| {
                format!(
                    "connection {} SUBSCRIBE {filter} {options:?} {identifier:?}",
                    self.connection
                )
            });
            requests.push(history.requests.len());
            history.requests.push(Request {
                connection: self.connection,
                filter,
                options: Some(Options {
                    qos: options.qos,
                    no_local: options.no_local,
                    retain_as_published: options.retain_as_published,
                    retain_handling: options.retain_handling,
                    identifier,
                }),
                sent,
                answered: None,
            });
            wanted.push(SubscribeFilter { topic_filter, options });
        }
        let packet_id = self.take_id();
        let is_subscribe = true;
        self.pending.insert(packet_id, Pending { is_subscribe, requests });
        self.send(&ClientPacket::Subscribe(Subscribe {
            packet_id,
            subscription_identifier: identifier,
            user_properties: UserProperties::NONE,
            filters: SubscribeFilters::from_slice(&wanted),
        }));
    }

    /// UNSUBSCRIBE.
    pub(crate) fn unsubscribe(&mut self, filters: &[&'static str], history: &mut History) {
        if !self.is_connected {
            return;
        }
        let mut requests = Vec::new();
        let mut unwanted = Vec::new();
        let sent = history.next();
        for filter in filters {
            let Ok(topic_filter) = TopicFilter::parse(filter) else {
                continue;
            };
            history.say(|| format!("connection {} UNSUBSCRIBE {filter}", self.connection));
            requests.push(history.requests.len());
            history.requests.push(Request {
                connection: self.connection,
                filter,
                options: None,
                sent,
                answered: None,
            });
            unwanted.push(topic_filter);
        }
        let packet_id = self.take_id();
        let is_subscribe = false;
        self.pending.insert(packet_id, Pending { is_subscribe, requests });
        self.send(&ClientPacket::Unsubscribe(Unsubscribe {
            packet_id,
            user_properties: UserProperties::NONE,
            filters: UnsubscribeFilters::from_slice(&unwanted),
        }));
    }

    /// SUBACK or UNSUBACK has come. UNSUBACK of 3.1.1 has no codes.
    pub(super) fn on_request_answered(
        &mut self,
        is_subscribe: bool,
        packet_id: PacketId,
        codes: ReasonCodes<'_>,
        history: &mut History,
    ) -> Result<(), Violation> {
        let Some(pending) = self.pending.remove(&packet_id) else {
            return self.violation(
                "acknowledgements are of what was sent",
                format!("SUBACK or UNSUBACK {packet_id}"),
            );
        };
        self.ids_in_use.remove(&packet_id);
        let codes: Vec<ReasonCode> = codes.iter().collect();
        let has_codes = is_subscribe || self.is_5();
        if pending.is_subscribe != is_subscribe || has_codes && codes.len() != pending.requests.len() {
            // MQTT-3.8.4-6, MQTT-3.11.3-1
            return self.violation(
                "each filter has its reason code",
                format!("{codes:?} for {} filters", pending.requests.len()),
            );
        }
        let at = history.next();
        history.say(|| {
            format!(
                "connection {} is answered request {packet_id}: {codes:?}",
                self.connection
            )
        });
        for (place, request) in pending.requests.into_iter().enumerate() {
            let code = codes.get(place).copied().unwrap_or(ReasonCode::Success);
            let Some(request) = history.requests.get_mut(request) else {
                continue;
            };
            request.answered = Some(Answered { at, code });
            if let Some(options) = request.options
                && code != granted(options.qos)
            {
                let seen = format!("{} asked for {:?} and got {code:?}", request.filter, options.qos);
                return self.violation("a subscription is granted as asked", seen);
            }
        }
        Ok(())
    }
}

fn granted(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::GRANTED_QOS_0,
        QoS::AtLeastOnce => ReasonCode::GrantedQos1,
        QoS::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}
