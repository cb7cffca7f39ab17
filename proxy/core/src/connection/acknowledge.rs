//! PUBACK, PUBREC and PUBCOMP of a client: what becomes of messages that were sent to it (MQTT 5.0, 4.3).

use std::num::NonZeroU16;

use freshet_mqtt::{PubRel, ReasonCode};

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
            Some(Acknowledged::Expected) if is_error => cx.shared.stats.deliveries_refused += 1,
            Some(Acknowledged::Expected) => {
                self.answer(cx, |peer, out| {
                    PubRel::new(packet_id, ReasonCode::Success).encode(peer, out)
                })?;
            }
            // MQTT 5.0, 3.6.2.1: the client may forget it.
            Some(Acknowledged::Unknown) if !is_error => {
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
        self.after_acknowledgement(acknowledged, cx)
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
