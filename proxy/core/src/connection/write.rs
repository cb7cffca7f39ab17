//! What one client is sent next, as bytes: the moment at which packet ids, topic aliases and expiry are decided.

use std::num::NonZeroU16;
use std::sync::Arc;

use freshet_mqtt::{ProtocolVersion, PublishHead, PublishLayout, QoS, SubscriptionIdentifiers};
use freshet_storage_contract::{MonotonicMs, Settlement};

use super::alias::Aliased;
use super::leases::SharedLease;
use super::message::OutMessage;
use super::outbound::Queued;
use super::session::Session;
use super::{Connection, Context, Pause};
use crate::planted::planted;
use crate::stats::WorkerStats;
use crate::worker::{ConnectionToken, Shared, Stage};

impl Connection {
    /// Puts up to about `max_bytes` on the stage: first what the socket did not take before, and only that.
    pub(crate) fn stage(
        &mut self,
        token: ConnectionToken,
        stage: &mut Stage,
        shared: &mut Shared,
        now: MonotonicMs,
        max_bytes: usize,
    ) {
        self.is_dirty = false;
        let Some(outbound) = &mut self.outbound else { return };
        if !outbound.unwritten.is_empty() {
            stage.repeat(&outbound.unwritten, max_bytes);
            return;
        }
        stage.buffer.append(&mut outbound.control);
        stage.seal();
        let Some(session) = &mut self.cold.session else { return };
        while stage.len() < max_bytes {
            // Without storage nothing of QoS 1 and 2 goes out: the session may be another proxy's by now.
            let Some(mut queued) = outbound.pop(|next| !shared.storage_away && may_send(session, next)) else {
                break;
            };
            let written = write_message(session, self.version, &queued, stage, &mut shared.stats, now);
            if let Some(lease) = queued.lease.take() {
                settle_lease(session, lease, queued.qos, written, shared);
            }
            if session.durable.is_some() && queued.qos.is_acknowledged() {
                settle_message(session, &queued, written, now);
                session.schedule_update(token, shared, now);
            }
        }
    }

    /// The socket took `written` bytes of what is on the stage.
    pub(crate) fn unstage(&mut self, stage: &Stage, written: usize, shared: &mut Shared) {
        shared.stats.bytes_sent += written as u64;
        if let Some(outbound) = &mut self.outbound {
            if stage.is_repetition() {
                outbound.advance_unwritten(written);
            } else if written < stage.len() {
                stage.rest_after(written, |bytes| outbound.keep_unwritten(bytes));
            }
            outbound.own_messages();
        }
        self.settle(shared);
        shared.spare.give_back_outbound(&mut self.outbound);
    }

    /// What the client's reading makes possible.
    pub(crate) fn after_write(&mut self, cx: &mut Context<'_>) {
        if self.paused == Some(Pause::Output) && !self.leaves_answers_unread() {
            cx.shared.to_resume.push(cx.token);
        }
        self.ask_for_retained(cx);
        self.read_on(cx);
    }
}

/// Whether a message of QoS 1 or 2 may be sent: when the client's window has room, and, towards a session that outlives its
/// connection, when storage knows the packet ids that it has to know.
fn may_send(session: &Session, queued: &Queued) -> bool {
    match (&session.durable, queued.packet_id) {
        (Some(durable), Some(packet_id)) if !queued.is_repeated => {
            durable.may_send(packet_id) || (planted!(PublishBeforeSending) && queued.qos == QoS::ExactlyOnce)
        }
        (Some(_), None) if queued.qos == QoS::ExactlyOnce || queued.is_kept_nowhere() => false,
        (_, Some(_)) if queued.is_repeated => session.inflight.has_room_for_repetition(),
        (_, Some(_)) => true,
        (_, None) => session.inflight.has_room(),
    }
}

/// What became of a message for a session that outlives its connection: it is on its way under its packet id, or it is
/// done with although it was not sent.
fn settle_message(session: &mut Session, queued: &Queued, written: Written, now: MonotonicMs) {
    let Some(durable) = &mut session.durable else { return };
    match (written, queued.packet_id) {
        (Written::Sent(Some(packet_id)), _) => durable.sent(packet_id, queued.qos, queued.place),
        (Written::Sent(None), _) => {}
        // The client may remember a packet id that it was sent before.
        (Written::Skipped, Some(packet_id)) if queued.is_repeated && queued.qos == QoS::ExactlyOnce => {
            session.inflight.release(packet_id);
            durable.receive(packet_id, now);
        }
        (Written::Skipped, Some(packet_id)) => {
            session.inflight.abandon(packet_id);
            durable.finish(packet_id, now);
        }
        (Written::Skipped, None) => {
            if let Some(place) = queued.place {
                durable.skip(place);
            }
        }
    }
}

/// What became of a message of a shared subscription. At QoS 1 that is known when the client acknowledges it; what was
/// sent at QoS 2 goes to nobody else (MQTT-4.8.2-5).
fn settle_lease(session: &mut Session, lease: Box<SharedLease>, qos: QoS, written: Written, shared: &mut Shared) {
    match written {
        Written::Sent(Some(packet_id)) if qos == QoS::AtLeastOnce || planted!(SentQos2Returned) => {
            session.leases.get_or_insert_default().insert(packet_id, lease);
        }
        Written::Sent(_) | Written::Skipped => shared.settlements.add(&lease, Settlement::Done),
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// It is on the stage, at QoS 1 and 2 with this packet id.
    Sent(Option<NonZeroU16>),
    /// It has expired, or is larger than the client takes.
    Skipped,
}

/// Writes one message, or counts why not.
fn write_message(
    session: &mut Session,
    version: ProtocolVersion,
    queued: &Queued,
    stage: &mut Stage,
    stats: &mut WorkerStats,
    now: MonotonicMs,
) -> Written {
    let message = &queued.message;
    let remaining_s = match message.remaining_s(now) {
        Ok(remaining_s) => remaining_s,
        // What has begun is finished: MQTT-3.3.2-5 speaks of messages that were never sent.
        Err(_) if queued.is_repeated => Some(0),
        Err(_) => {
            stats.deliveries_expired += 1;
            return Written::Skipped;
        }
    };
    let start = stage.buffer.len();
    let written = match session
        .outbound_aliases
        .as_ref()
        .map(|a| a.look_up(&message.message.topic_name))
    {
        Some(alias @ (Aliased::Known(_) | Aliased::New(_))) => {
            append(session, version, queued, remaining_s, alias, &mut stage.buffer)
                // A definition makes the packet larger: without it, it may fit (MQTT-3.1.2-24).
                .or_else(|| {
                    append(
                        session,
                        version,
                        queued,
                        remaining_s,
                        Aliased::Unaliased,
                        &mut stage.buffer,
                    )
                })
        }
        _ if remaining_s.is_none()
            && !queued.is_repeated
            && queued.identifiers.as_slice().is_empty()
            && is_shared(queued, version) =>
        {
            copy_encoding(session, version, queued, &mut stage.buffer)
        }
        _ => append(
            session,
            version,
            queued,
            remaining_s,
            Aliased::Unaliased,
            &mut stage.buffer,
        ),
    };
    let Some(layout) = written else {
        stats.deliveries_too_large += 1;
        return Written::Skipped;
    };
    let mut packet_id = None;
    if queued.qos.is_acknowledged() {
        // There was room in the window.
        packet_id = queued.packet_id.or_else(|| session.inflight.take(queued.qos));
        if let Some(packet_id) = packet_id.filter(|_| queued.is_repeated) {
            session.inflight.repeat(packet_id);
        }
        if let (Some(packet_id), Some(packet)) = (packet_id, stage.buffer.get_mut(start..)) {
            layout.set_packet_id(packet, packet_id);
        }
    }
    stats.deliveries_repeated += u64::from(queued.is_repeated);
    if let Some(count) = stats.publishes_sent.get_mut(usize::from(queued.qos.bits())) {
        *count += 1;
    }
    stats.payload_bytes_sent += message.message.payload.len() as u64;
    if !message.copies_payload() {
        stage.push_shared(message.message.payload.clone(), message.is_part());
    }
    Written::Sent(packet_id)
}

/// Whether the encoding serves others too.
fn is_shared(queued: &Queued, version: ProtocolVersion) -> bool {
    Arc::strong_count(&queued.message) > 1 || queued.message.is_encoded(version, queued.qos.is_acknowledged())
}

/// Copies the encoding that all receivers of this kind share. None: it is larger than the client takes.
fn copy_encoding(
    session: &Session,
    version: ProtocolVersion,
    queued: &Queued,
    out: &mut Vec<u8>,
) -> Option<PublishLayout> {
    let encoded = queued.message.encoded(version, queued.qos.is_acknowledged())?;
    if encoded.layout.packet_bytes > session.max_packet_bytes as usize {
        return None;
    }
    let start = out.len();
    out.extend_from_slice(&encoded.bytes);
    let head = PublishHead {
        qos: queued.qos,
        retain: queued.retain,
        ..PublishHead::default()
    };
    if let Some(first) = out.get_mut(start) {
        *first = head.first_byte();
    }
    Some(encoded.layout)
}

/// Encodes a message for this client alone. None: it is larger than the client takes; `out` is then as it was.
fn append(
    session: &mut Session,
    version: ProtocolVersion,
    queued: &Queued,
    remaining_s: Option<u32>,
    alias: Aliased,
    out: &mut Vec<u8>,
) -> Option<PublishLayout> {
    let message: &OutMessage = &queued.message;
    let (topic_name, topic_alias): (&[u8], Option<NonZeroU16>) = match alias {
        Aliased::Known(alias) => (&[], Some(alias)),
        Aliased::New(alias) => (&message.message.topic_name, Some(alias)),
        Aliased::Unaliased => (&message.message.topic_name, None),
    };
    let head = PublishHead {
        dup: queued.is_repeated && !planted!(DupDropped),
        qos: queued.qos,
        retain: queued.retain,
        topic_name,
        packet_id: None,
        topic_alias,
        subscription_identifiers: SubscriptionIdentifiers::from_slice(queued.identifiers.as_slice()),
        message_expiry_interval: remaining_s,
        forwarded_properties: &message.message.forwarded_properties,
    };
    let start = out.len();
    let layout = message.append(out, version, &head).ok()?;
    if planted!(AliasOfDroppedPacket)
        && let (Aliased::New(alias), Some(aliases)) = (alias, &mut session.outbound_aliases)
    {
        aliases.define(&message.message.topic_name, alias);
    }
    if layout.packet_bytes > session.max_packet_bytes as usize {
        out.truncate(start);
        return None;
    }
    if let (Aliased::New(alias), Some(aliases)) = (alias, &mut session.outbound_aliases) {
        aliases.define(&message.message.topic_name, alias);
    }
    Some(layout)
}
