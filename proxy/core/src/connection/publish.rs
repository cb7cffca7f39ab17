//! PUBLISH of a client, its outcome and its release (MQTT 5.0, 3.3 to 3.7, 4.3).

use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use freshet_mqtt::{EncodeError, PubComp, PubRec, Publish, QoS, ReasonCode};
use freshet_storage_contract::{ExactlyOnce, Message, PublishOutcome};

use super::alias::{AliasError, InboundAliases};
use super::connect::topic_is_allowed;
use super::inbound::Arrival;
use super::{Connection, Context, Ending, Pause, Step, explanation};
use crate::authorization::Authorization;
use crate::exchange::ToLink;
use crate::planted::planted;
use crate::reason::DisconnectReason;
use crate::worker::Request;

/// The parts of a message, in one allocation of their own.
pub(super) struct Packed {
    pub(super) topic_name: Bytes,
    pub(super) payload: Bytes,
    pub(super) forwarded_properties: Bytes,
}

/// Copies a message out of the read buffer. `bytes` is about what it needs.
pub(super) fn pack(
    topic_name: &str,
    payload: &[u8],
    bytes: usize,
    write_properties: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Packed {
    let mut packed = Vec::with_capacity(topic_name.len() + bytes);
    packed.extend_from_slice(topic_name.as_bytes());
    // Fails for fields over 65,535 bytes, which no decoded packet has; nothing is appended then.
    let _ = write_properties(&mut packed);
    let properties_end = packed.len();
    packed.extend_from_slice(payload);
    let packed = Bytes::from(packed);
    Packed {
        topic_name: packed.slice(..topic_name.len()),
        payload: packed.slice(properties_end..),
        forwarded_properties: packed.slice(topic_name.len()..properties_end),
    }
}

/// Whether only the server publishes there.
pub(super) fn is_server_topic(topic_name: &str) -> bool {
    topic_name
        .strip_prefix("$SYS")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Connection {
    /// Takes a PUBLISH.
    ///
    /// # Errors
    /// [`Ending`].
    pub(super) fn on_publish(
        &mut self,
        publish: &Publish<'_>,
        body_bytes: usize,
        cx: &mut Context<'_>,
    ) -> Result<Step, Ending> {
        if self.is_leaving {
            return Ok(Step::Hold(Pause::Leaving));
        }
        // MQTT 5.0, 3.2.2.3.4
        if publish.qos > self.max_qos() {
            return Err(DisconnectReason::QosNotSupported.into());
        }
        self.define_alias(publish)?;
        if let Some(packet_id) = publish.packet_id
            && let Some(step) = self.check_window(packet_id, publish.qos, cx)?
        {
            return Ok(step);
        }
        if cx.shared.is_over_publish_budget() {
            if publish.qos != QoS::AtMostOnce || !cx.shared.storage_away {
                return Ok(Step::Hold(Pause::Budget));
            }
            // The client is told nothing at QoS 0, and must not be cut off from its PINGRESP for as long as storage
            // is away.
            cx.shared.stats.publishes_shed += 1;
            return Ok(Step::Next);
        }
        if let Some(count) = cx
            .shared
            .stats
            .publishes_received
            .get_mut(usize::from(publish.qos.bits()))
        {
            *count += 1;
        }
        cx.shared.stats.payload_bytes_received += publish.payload.len() as u64;
        let message = match self.message_of(publish, body_bytes, &cx.shared.authorization) {
            Ok(message) => self.mark_exactly_once(message, publish.packet_id, cx),
            Err(refused) => return self.refuse_publish(publish, refused, cx).map(|()| Step::Next),
        };
        let number = match publish.packet_id {
            None => None,
            Some(packet_id) => {
                let inbound = self.inbound.get_or_insert_with(|| cx.shared.spare.take_inbound());
                let Arrival::New(number) = inbound.arrive(packet_id, publish.qos, cx.now) else {
                    return Ok(Step::Next);
                };
                if inbound.waiting() == 1 {
                    self.arm(cx);
                }
                Some(number)
            }
        };
        self.unanswered += 1;
        let ticket = cx.shared.add_publication(cx.token, number, &message, cx.now);
        let message = Arc::new(message);
        cx.out.to_link.push(ToLink::Publish { ticket, message });
        Ok(Step::Next)
    }

    /// What a PUBLISH with a packet id is before it is looked at: `Some` when there is nothing more to do with it.
    fn check_window(&mut self, packet_id: NonZeroU16, qos: QoS, cx: &mut Context<'_>) -> Result<Option<Step>, Ending> {
        let receive_maximum = usize::from(self.cold.config.mqtt.receive_maximum.max(1));
        let Some(inbound) = &mut self.inbound else {
            return Ok(None);
        };
        if inbound.is_new(packet_id) {
            if self.version.has_properties() {
                // MQTT 5.0, 3.3.4
                let is_over = inbound.unacknowledged() >= receive_maximum;
                return if is_over {
                    Err(DisconnectReason::ReceiveMaximumExceeded.into())
                } else {
                    Ok(None)
                };
            }
            // 3.1.1 knows no such limit: the client waits. Ids that wait for PUBREL do not count, since the PUBREL
            // may be behind this very packet; there are at most 65,535 of them.
            let is_over = inbound.waiting() >= receive_maximum;
            return Ok(is_over.then_some(Step::Hold(Pause::Window)));
        }
        match inbound.arrive(packet_id, qos, cx.now) {
            Arrival::RepeatedAfterPubrec => {
                cx.shared.stats.publishes_repeated += 1;
                self.answer(cx, |peer, out| {
                    PubRec::new(packet_id, ReasonCode::Success).encode(peer, out)
                })?;
            }
            Arrival::Repeated | Arrival::New(_) => cx.shared.stats.publishes_repeated += 1,
            Arrival::IdInUse if !self.version.has_properties() => return Err(DisconnectReason::ProtocolError.into()),
            Arrival::IdInUse => {
                let code = ReasonCode::PacketIdentifierInUse;
                self.answer(cx, |peer, out| match qos {
                    QoS::ExactlyOnce => explanation::pubrec(packet_id, code).encode(peer, out),
                    _ => explanation::puback(packet_id, code).encode(peer, out),
                })?;
            }
        }
        Ok(Some(Step::Next))
    }

    fn define_alias(&mut self, publish: &Publish<'_>) -> Result<(), Ending> {
        let Some(alias) = publish.properties.topic_alias else {
            return Ok(());
        };
        let max = self.cold.config.mqtt.topic_alias_maximum;
        let Some(session) = self.cold.session.as_mut().filter(|_| max > 0) else {
            return Err(DisconnectReason::TopicAliasInvalid.into());
        };
        let aliases = session
            .inbound_aliases
            .get_or_insert_with(|| Box::new(InboundAliases::new(max)));
        let defined = if publish.topic_name.is_empty() {
            aliases.resolve(alias).map(|_| ())
        } else {
            aliases.define(alias, publish.topic_name)
        };
        defined.map_err(|error| match error {
            AliasError::OutOfRange => DisconnectReason::TopicAliasInvalid.into(),
            AliasError::Unknown => DisconnectReason::ProtocolError.into(),
        })
    }

    /// The message of a PUBLISH, copied once. `Err`: the reason code of its refusal.
    fn message_of(
        &self,
        publish: &Publish<'_>,
        body_bytes: usize,
        authorization: &Authorization,
    ) -> Result<Message, ReasonCode> {
        let session = self.cold.session.as_ref();
        let topic_name = match (publish.topic_name, publish.properties.topic_alias) {
            ("", Some(alias)) => session
                .and_then(|s| s.inbound_aliases.as_ref()?.resolve(alias).ok())
                .ok_or(ReasonCode::TopicNameInvalid)?,
            (topic_name, _) => topic_name,
        };
        if is_server_topic(topic_name) {
            return Err(ReasonCode::NotAuthorized);
        }
        if !topic_is_allowed(topic_name, &self.cold.config.mqtt) {
            return Err(ReasonCode::TopicNameInvalid);
        }
        if !authorization.may_publish(topic_name) {
            return Err(ReasonCode::NotAuthorized);
        }
        // The rest of the body holds payload and properties.
        let rest_bytes = body_bytes.saturating_sub(publish.topic_name.len());
        let packed = pack(topic_name, publish.payload, rest_bytes, |out| {
            publish.properties.write_forwarded(out)
        });
        Ok(Message {
            topic_name: packed.topic_name,
            payload: packed.payload,
            qos: publish.qos,
            retain: publish.retain,
            publisher: session.map(|s| s.publisher).unwrap_or_default(),
            message_expiry_interval_s: publish.properties.message_expiry_interval,
            forwarded_properties: packed.forwarded_properties,
            exactly_once: None,
        })
    }

    /// Names the exchange of a QoS 2 PUBLISH where the session outlives its connection: storage knows it again.
    fn mark_exactly_once(&mut self, mut message: Message, packet_id: Option<NonZeroU16>, cx: &Context<'_>) -> Message {
        let Some(session) = &mut self.cold.session else {
            return message;
        };
        let (Some(durable), Some(packet_id), QoS::ExactlyOnce) = (&mut session.durable, packet_id, message.qos) else {
            return message;
        };
        message.exactly_once = Some(Box::new(ExactlyOnce {
            client_id: session.client_id.to_bytes(),
            generation: durable.generation,
            packet_id,
            epoch: session.epoch,
        }));
        if let Some(placement) = &cx.shared.placement {
            durable
                .releases
                .remember(packet_id, placement.shard_of_topic(&message.topic_name));
        }
        message
    }

    /// Answers a PUBLISH that goes no further.
    fn refuse_publish(&mut self, publish: &Publish<'_>, code: ReasonCode, cx: &mut Context<'_>) -> Result<(), Ending> {
        if code == ReasonCode::NotAuthorized {
            cx.shared.stats.publishes_not_authorized += 1;
        } else {
            cx.shared.stats.publishes_topic_invalid += 1;
            if publish.packet_id.is_none() || !self.version.has_properties() {
                // There is no other answer (MQTT 5.0, 4.13.2; MQTT-3.3.5-2 of 3.1.1).
                return Err(DisconnectReason::TopicNameInvalid.into());
            }
        }
        let Some(packet_id) = publish.packet_id else {
            return Ok(());
        };
        let inbound = self.inbound.get_or_insert_with(|| cx.shared.spare.take_inbound());
        if let Arrival::New(number) = inbound.arrive(packet_id, publish.qos, cx.now) {
            inbound.answer(
                number,
                if self.version.has_properties() {
                    code
                } else {
                    ReasonCode::Success
                },
            );
        }
        self.send_answers(cx)
    }

    /// The outcome of a publication is known; `number`: that of its packet id, none at QoS 0.
    ///
    /// # Errors
    /// [`Ending`].
    pub(crate) fn on_published(
        &mut self,
        number: Option<u32>,
        outcome: PublishOutcome,
        cx: &mut Context<'_>,
    ) -> Result<(), Ending> {
        self.unanswered = self.unanswered.saturating_sub(1);
        if outcome == PublishOutcome::QuotaExceeded {
            cx.shared.stats.publishes_over_quota += 1;
        }
        let (Some(number), Some(inbound)) = (number, &mut self.inbound) else {
            return Ok(());
        };
        // 3.1.1 has no word for a refusal: what goes no further is acknowledged (MQTT-3.3.5-2 of 3.1.1).
        let code = match outcome {
            _ if !self.version.has_properties() => ReasonCode::Success,
            PublishOutcome::Delivered => ReasonCode::Success,
            PublishOutcome::NoMatchingSubscribers => ReasonCode::NoMatchingSubscribers,
            PublishOutcome::QuotaExceeded => ReasonCode::QuotaExceeded,
        };
        inbound.answer(number, code);
        self.send_answers(cx)
    }

    /// Sends the answers that may leave, oldest first.
    fn send_answers(&mut self, cx: &mut Context<'_>) -> Result<(), Ending> {
        let Some(mut inbound) = self.inbound.take_if(|i| i.has_answer()) else {
            return Ok(());
        };
        let mut sent = 0_u64;
        let result = self.answer(cx, |peer, out| {
            let mut bytes = 0;
            while let Some(answer) = inbound.pop_answer() {
                sent += 1;
                bytes += match answer.qos {
                    QoS::ExactlyOnce => explanation::pubrec(answer.packet_id, answer.reason_code).encode(peer, out)?,
                    _ => explanation::puback(answer.packet_id, answer.reason_code).encode(peer, out)?,
                };
            }
            Ok(bytes)
        });
        // One of them has been counted.
        cx.shared.stats.answers_sent += sent.saturating_sub(1);
        self.inbound = Some(inbound);
        cx.shared.spare.give_back_inbound(&mut self.inbound);
        if self.paused == Some(Pause::Window) {
            cx.shared.to_resume.push(cx.token);
        }
        result
    }

    /// Takes a PUBREL: the packet id is free for a new message (MQTT-4.3.3-11, MQTT-4.3.3-12).
    pub(super) fn on_pubrel(&mut self, packet_id: NonZeroU16, cx: &mut Context<'_>) -> Result<Step, Ending> {
        let most = usize::from(self.cold.config.mqtt.receive_maximum.max(1));
        if self.durable_mut().is_some_and(|d| d.releases.len() >= most) {
            return Ok(Step::Hold(Pause::Window));
        }
        let known = self.inbound.as_mut().is_some_and(|i| i.release(packet_id));
        cx.shared.spare.give_back_inbound(&mut self.inbound);
        if self.ask_for_release(packet_id, known, cx) {
            return Ok(Step::Next);
        }
        let code = if known || planted!(StrayReleaseSucceeds) {
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        self.answer(cx, |peer, out| PubComp::new(packet_id, code).encode(peer, out))?;
        Ok(Step::Next)
    }

    /// Asks storage to release a packet id of a session that outlives its connection. False: storage has nothing of
    /// it. One that this connection does not know may be of an earlier one.
    fn ask_for_release(&mut self, packet_id: NonZeroU16, known: bool, cx: &mut Context<'_>) -> bool {
        let Some(session) = &mut self.cold.session else {
            return false;
        };
        let Some(durable) = &mut session.durable else {
            return false;
        };
        if durable.releases.is_asked(packet_id) {
            return true;
        }
        if !known && !durable.is_resumed {
            return false;
        }
        let shard = durable.releases.take_shard(packet_id).filter(|_| known);
        let request = cx.shared.requests.add(Request::Release(cx.token));
        durable.releases.ask(request, packet_id, known, cx.now);
        let of = ExactlyOnce {
            client_id: session.client_id.to_bytes(),
            generation: durable.generation,
            packet_id,
            epoch: session.epoch,
        };
        cx.out.to_link.push(ToLink::Release { request, shard, of });
        self.arm(cx);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_servers_own_topics_are_closed_to_clients() {
        for topic_name in ["$SYS", "$SYS/", "$SYS/broker/uptime"] {
            assert!(is_server_topic(topic_name), "{topic_name}");
        }
        for topic_name in ["$SYSTEM/x", "a/$SYS", "$other", "SYS/"] {
            assert!(!is_server_topic(topic_name), "{topic_name}");
        }
    }

    #[test]
    fn a_message_is_packed_into_bytes_of_its_own() {
        let packed = pack("a/b", b"payload", 16, |out| {
            out.extend_from_slice(b"props");
            Ok(())
        });
        assert_eq!(
            (&packed.topic_name[..], &packed.payload[..]),
            (&b"a/b"[..], &b"payload"[..])
        );
        assert_eq!(&packed.forwarded_properties[..], b"props");
    }
}
