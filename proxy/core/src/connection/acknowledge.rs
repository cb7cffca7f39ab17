//! PUBACK, PUBREC and PUBCOMP of a client: what becomes of messages that were sent to it (MQTT 5.0, 4.3).

use std::num::NonZeroU16;

use freshet_mqtt::{PubRel, ReasonCode};
use freshet_storage_contract::Settlement;

use super::inflight::Acknowledged;
use super::{Connection, Context, Ending};
use crate::reason::DisconnectReason;

impl Connection {
    /// Takes a PUBACK.
    pub(super) fn on_puback(
        &mut self,
        packet_id: NonZeroU16,
        reason_code: ReasonCode,
        cx: &mut Context<'_>,
    ) -> Result<(), Ending> {
        let acknowledged = self.cold.session.as_mut().map(|s| s.inflight.puback(packet_id));
        if acknowledged == Some(Acknowledged::Expected) && reason_code.is_error() {
            cx.shared.stats.deliveries_refused += 1;
        }
        self.finish_exchange(packet_id, acknowledged, cx);
        self.after_acknowledgement(acknowledged, cx)
    }

    /// Takes a PUBREC: PUBREL follows, or the exchange has ended (MQTT-4.3.3-4).
    pub(super) fn on_pubrec(
        &mut self,
        packet_id: NonZeroU16,
        reason_code: ReasonCode,
        cx: &mut Context<'_>,
    ) -> Result<(), Ending> {
        let is_error = reason_code.is_error();
        let acknowledged = self
            .cold
            .session
            .as_mut()
            .map(|s| s.inflight.pubrec(packet_id, is_error));
        match acknowledged {
            Some(Acknowledged::Expected) if is_error => {
                cx.shared.stats.deliveries_refused += 1;
                self.finish_exchange(packet_id, acknowledged, cx);
            }
            Some(Acknowledged::Expected) => {
                // Where the session outlives its connection PUBREL waits: the next connection must not send PUBLISH
                // again to a client that has forgotten the packet id.
                let is_held = self.durable_mut().is_some_and(|d| d.receive(packet_id, cx.now));
                if is_held {
                    self.schedule_update(cx);
                    self.arm(cx);
                } else {
                    self.send_pubrel(packet_id, cx)?;
                }
            }
            // MQTT 5.0, 3.6.2.1: the client may forget it. So may one that nothing was ever sent to: its identifier is of
            // a session that is gone.
            Some(Acknowledged::Unknown) | None if !is_error => {
                let code = ReasonCode::PacketIdentifierNotFound;
                self.answer(cx, |peer, out| PubRel::new(packet_id, code).encode(peer, out))?;
            }
            _ => {}
        }
        self.after_acknowledgement(acknowledged, cx)
    }

    /// Takes a PUBCOMP.
    pub(super) fn on_pubcomp(&mut self, packet_id: NonZeroU16, cx: &mut Context<'_>) -> Result<(), Ending> {
        let acknowledged = self.cold.session.as_mut().map(|s| s.inflight.pubcomp(packet_id));
        self.finish_exchange(packet_id, acknowledged, cx);
        self.after_acknowledgement(acknowledged, cx)
    }

    /// What was acknowledged for good is done with.
    fn finish_exchange(&mut self, packet_id: NonZeroU16, acknowledged: Option<Acknowledged>, cx: &mut Context<'_>) {
        if acknowledged != Some(Acknowledged::Expected) {
            return;
        }
        let leases = self.cold.session.as_mut().and_then(|session| session.leases.as_mut());
        if let Some(lease) = leases.and_then(|leases| leases.remove(packet_id)) {
            // With an error, too: nobody else gets it (MQTT-4.8.2-6).
            cx.shared.settlements.add(&lease, Settlement::Done);
        }
        if let Some(durable) = self.durable_mut() {
            durable.finish(packet_id, cx.now);
            self.schedule_update(cx);
            self.read_on(cx);
        }
    }

    fn after_acknowledgement(
        &mut self,
        acknowledged: Option<Acknowledged>,
        cx: &mut Context<'_>,
    ) -> Result<(), Ending> {
        match acknowledged {
            Some(Acknowledged::Expected) => {
                if self
                    .outbound
                    .as_ref()
                    .is_some_and(|o| o.has_message(!cx.shared.storage_away))
                {
                    self.mark_dirty(cx);
                }
                Ok(())
            }
            // Of an earlier life, or repeated: harmless.
            Some(Acknowledged::Unknown) | None => {
                cx.shared.stats.unknown_acknowledgements += 1;
                Ok(())
            }
            Some(Acknowledged::OutOfPlace) => Err(DisconnectReason::ProtocolError.into()),
        }
    }
}
