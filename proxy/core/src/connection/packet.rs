//! What a packet of the client leads to.

use freshet_mqtt::{ClientPacket, DecodeLimits, FixedHeader, PacketType, ReasonCode};

use super::{Connection, Context, Ending, Phase, Step};
use crate::reason::DisconnectReason;

/// HTTP methods, with the space behind them as far as four bytes go.
const HTTP_METHODS: [&[u8; 4]; 9] = [
    b"GET ", b"POST", b"PUT ", b"HEAD", b"OPTI", b"DELE", b"PATC", b"CONN", b"PRI ",
];

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstBytes {
    /// They may be a CONNECT.
    Connect,
    /// Too few to tell.
    Undecided,
    /// Another protocol, or another packet.
    Other(DisconnectReason),
}

/// Tells other protocols from MQTT, so that whoever runs the client sees what is wrong.
pub(crate) fn look_at_first_bytes(bytes: &[u8]) -> FirstBytes {
    match bytes {
        [] => FirstBytes::Undecided,
        [0x10..=0x1F, ..] if bytes[0] != 0x16 => FirstBytes::Connect,
        [0x16] => FirstBytes::Undecided,
        // A TLS record of a handshake, in any version.
        [0x16, 0x03, ..] => FirstBytes::Other(DisconnectReason::TlsOnPlainPort),
        [0x16, ..] => FirstBytes::Other(DisconnectReason::MalformedPacket),
        _ => {
            let seen = bytes.get(..4).unwrap_or(bytes);
            match HTTP_METHODS.iter().find(|method| method.starts_with(seen)) {
                Some(_) if seen.len() == 4 => FirstBytes::Other(DisconnectReason::HttpOnPlainPort),
                Some(_) => FirstBytes::Undecided,
                None if bytes[0] >> 4 == 0 => FirstBytes::Other(DisconnectReason::MalformedPacket),
                // MQTT-3.1.0-1
                None => FirstBytes::Other(DisconnectReason::ProtocolError),
            }
        }
    }
}

impl Connection {
    /// Takes one packet.
    ///
    /// # Errors
    /// [`Ending`]: the connection is to be ended.
    pub(crate) fn take_packet(
        &mut self,
        header: FixedHeader,
        body: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<Step, Ending> {
        if self.phase == Phase::New {
            return self.on_connect(body, cx);
        }
        // MQTT-3.1.0-2
        if header.packet_type == PacketType::Connect {
            return Err(DisconnectReason::ProtocolError.into());
        }
        let packet = ClientPacket::decode(self.version, header, body, &DecodeLimits::default())?;
        match packet {
            ClientPacket::Publish(publish) => return self.on_publish(&publish, body.len(), cx),
            ClientPacket::PubAck(ack) => self.on_puback(ack.packet_id, ack.reason_code, cx)?,
            ClientPacket::PubRec(ack) => self.on_pubrec(ack.packet_id, ack.reason_code, cx)?,
            ClientPacket::PubRel(ack) => return self.on_pubrel(ack.packet_id, cx),
            ClientPacket::PubComp(ack) => self.on_pubcomp(ack.packet_id, cx)?,
            ClientPacket::Subscribe(subscribe) => return self.on_subscribe(&subscribe, cx),
            ClientPacket::Unsubscribe(unsubscribe) => self.on_unsubscribe(&unsubscribe, cx)?,
            // MQTT-3.12.4-1
            ClientPacket::PingReq => self.answer(cx, |_, out| Ok(freshet_mqtt::packet::pingresp::encode(out)))?,
            ClientPacket::Disconnect(disconnect) => {
                return Err(self
                    .on_disconnect(disconnect.reason_code, disconnect.session_expiry_interval)
                    .into());
            }
            // MQTT-4.12.0-7: there was no authentication method in CONNECT, or it would have been refused.
            ClientPacket::Auth(_) | ClientPacket::Connect(_) => return Err(DisconnectReason::ProtocolError.into()),
        }
        Ok(Step::Next)
    }

    fn on_disconnect(&mut self, reason_code: ReasonCode, session_expiry_interval_s: Option<u32>) -> DisconnectReason {
        let raises = session_expiry_interval_s.is_some_and(|s| s > 0);
        // MQTT 5.0, 3.14.2.2.2
        if raises && self.cold.session.as_ref().is_some_and(|s| s.expires_at_once) {
            return DisconnectReason::ProtocolError;
        }
        let most_s = self.cold.config.mqtt.max_session_expiry_s;
        if let Some(session) = &mut self.cold.session {
            session.disconnect_expiry_s = session_expiry_interval_s.map(|s| s.min(most_s));
        }
        // MQTT-3.14.4-3: the will goes with 0x00 alone.
        match reason_code {
            ReasonCode::Success => DisconnectReason::ClientDisconnect,
            _ => DisconnectReason::ClientDisconnectWithWill,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_protocols_are_told_by_their_first_bytes() {
        use DisconnectReason::{HttpOnPlainPort, MalformedPacket, ProtocolError, TlsOnPlainPort};
        for (bytes, expected) in [
            (&[0x16, 0x03, 0x01][..], FirstBytes::Other(TlsOnPlainPort)),
            (&[0x16, 0x03], FirstBytes::Other(TlsOnPlainPort)),
            (&[0x16], FirstBytes::Undecided),
            (&[0x16, 0x04], FirstBytes::Other(MalformedPacket)),
            (b"GET / HTTP/1.1", FirstBytes::Other(HttpOnPlainPort)),
            (b"PRI * HTTP/2.0", FirstBytes::Other(HttpOnPlainPort)),
            (b"PO", FirstBytes::Undecided),
            (b"POX", FirstBytes::Other(ProtocolError)),
            (b"SSH-2.0", FirstBytes::Other(ProtocolError)),
            (&[0x30, 0x00], FirstBytes::Other(ProtocolError)),
            (&[0x00, 0x00], FirstBytes::Other(MalformedPacket)),
            (&[0x10], FirstBytes::Connect),
        ] {
            assert_eq!(look_at_first_bytes(bytes), expected, "{bytes:02x?}");
        }
    }
}
