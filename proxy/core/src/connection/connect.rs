//! CONNECT and CONNACK (MQTT 5.0, 3.1 and 3.2).

use std::num::{NonZeroU16, NonZeroU32};

use freshet_mqtt::{
    ConnAck, ConnAckProperties, Connect, DecodeError, DecodeErrorKind, DecodeLimits, MAX_PACKET_BYTES, Peer, Protocol,
    ProtocolVersion, QoS, ReasonCode, UserProperties, Will as ConnectWill,
};
use freshet_storage_contract::{
    ClientId, Message, Placement, PublisherId, SessionEpoch, SessionRefusal, StoredSession, Will,
};

use super::alias::OutboundAliases;
use super::durable::Durable;
use super::inflight::Inflight;
use super::publish::{is_server_topic, pack};
use super::session::{Attaching, Session};
use super::{Connection, Context, Ending, Phase, Step};
use crate::exchange::ToLink;
use crate::planted::planted;
use crate::reason::DisconnectReason;
use crate::worker::{Fact, Request};

/// User property of CONNACK that names the proxy, with `observability.proxyInConnack`.
const PROXY_PROPERTY: &str = "freshet-proxy";
/// Sessions that storage may be asked for at once, for each connection that a worker may have.
const ATTACHES_PER_CONNECTION: u64 = 2;

impl Connection {
    /// Takes the CONNECT: checks it and asks storage for the session.
    ///
    /// # Errors
    /// [`Ending`], with the CONNACK that says why.
    pub(super) fn on_connect(&mut self, body: &[u8], cx: &mut Context<'_>) -> Result<Step, Ending> {
        let connect = Connect::decode(body, &DecodeLimits::default()).map_err(|error| refuse_undecoded(body, error))?;
        self.version = connect.protocol.version;
        self.check_connect(&connect, cx)
            .map_err(|reason| self.refuse_as(&peer_of(&connect), reason))?;
        let assigned = connect.client_id.is_empty();
        let client_id = if assigned {
            cx.shared.assign_client_id()
        } else {
            ClientId::from(connect.client_id.as_bytes())
        };
        let properties = &connect.properties;
        self.keep_alive_s = self.effective_keep_alive_s(connect.keep_alive_seconds);
        self.cold.session = Some(self.new_session(&connect, client_id));
        self.cold.attaching = Some(Box::new(Attaching {
            request: None,
            since: cx.shared.arrived(cx.now),
            clean_start: connect.clean_start,
            assigned,
            requested_expiry_s: properties.session_expiry_interval.unwrap_or(0),
            granted_expiry_s: self.granted_expiry_s(&connect),
            session_present: None,
            requested_keep_alive_s: connect.keep_alive_seconds,
            will: connect.will.as_ref().map(|will| Box::new(will_of(will))),
        }));
        self.phase = Phase::Attaching;
        cx.shared.stats.attaching_now += 1;
        match cx.shared.placement.clone() {
            Some(placement) if cx.shared.attaches.has_room() => self.ask_for_session(&placement, cx),
            _ => cx.shared.attaches.wait(cx.token),
        }
        self.arm(cx);
        Ok(Step::Next)
    }

    fn check_connect(&self, connect: &Connect<'_>, cx: &Context<'_>) -> Result<(), DisconnectReason> {
        let config = &self.cold.config.mqtt;
        if connect.properties.authentication_method.is_some() {
            return Err(DisconnectReason::BadAuthenticationMethod);
        }
        if connect.client_id.len() > usize::from(config.max_client_id_bytes) {
            return Err(DisconnectReason::ClientIdentifierNotValid);
        }
        let may_be_empty = match connect.protocol.version {
            ProtocolVersion::V5 => true,
            // MQTT-3.1.3-7 and -8 of 3.1.1
            ProtocolVersion::V311 => connect.clean_start,
            ProtocolVersion::V31 => false,
        };
        if connect.client_id.is_empty() && !may_be_empty {
            return Err(DisconnectReason::ClientIdentifierNotValid);
        }
        if let Some(will) = &connect.will {
            if is_server_topic(will.topic_name) {
                return Err(DisconnectReason::WillNotAllowed);
            }
            if !topic_is_allowed(will.topic_name, config) {
                return Err(DisconnectReason::TopicNameInvalid);
            }
            // MQTT-3.2.2-12
            if will.qos > self.max_qos() {
                return Err(DisconnectReason::QosNotSupported);
            }
            if !cx.shared.authorization.may_publish(will.topic_name) {
                return Err(DisconnectReason::WillNotAllowed);
            }
        }
        if cx.shared.is_shutting_down() {
            return Err(DisconnectReason::ServerShutdown);
        }
        if planted!(OneInTenRefused) && cx.shared.stats.connections_accepted.is_multiple_of(10) {
            return Err(DisconnectReason::ServerBusy);
        }
        let attaches = cx.shared.stats.attaching_now + cx.shared.leaving.unattached();
        if attaches >= ATTACHES_PER_CONNECTION * u64::from(cx.shared.settings.max_connections) {
            return Err(DisconnectReason::ServerBusy);
        }
        Ok(())
    }

    fn new_session(&self, connect: &Connect<'_>, client_id: ClientId) -> Session {
        let config = &self.cold.config;
        let properties = &connect.properties;
        // A 3.1.1 client cannot say how much it takes.
        let receive_maximum = properties.receive_maximum.map_or(u16::MAX, NonZeroU16::get);
        let alias_max = properties
            .topic_alias_maximum
            .unwrap_or(0)
            .min(config.mqtt.topic_alias_maximum);
        Session {
            client_id,
            epoch: None,
            publisher: PublisherId::default(),
            will: None,
            max_packet_bytes: peer_of(connect).max_packet_bytes,
            request_problem_information: peer_of(connect).request_problem_information,
            expires_at_once: properties.session_expiry_interval.unwrap_or(0) == 0,
            is_bridge: connect.protocol.bridge,
            subscriptions: Vec::new(),
            inflight: Inflight::new(receive_maximum.min(config.client_limits.inflight).max(1)),
            inbound_aliases: None,
            outbound_aliases: (alias_max > 0).then(|| Box::new(OutboundAliases::new(alias_max))),
            requests: None,
            durable: None,
            leases: None,
            disconnect_expiry_s: None,
        }
    }

    /// Highest QoS that is offered to the client.
    pub(crate) fn max_qos(&self) -> QoS {
        QoS::from_bits(self.cold.config.mqtt.max_qos).unwrap_or(QoS::ExactlyOnce)
    }

    /// For how long the session outlives its connection, in seconds. 3.1.1 cannot say so: its sessions that are not
    /// clean have an interval of the server's.
    fn granted_expiry_s(&self, connect: &Connect<'_>) -> u32 {
        let config = &self.cold.config.mqtt;
        let requested_s = match connect.protocol.version {
            ProtocolVersion::V5 => connect.properties.session_expiry_interval.unwrap_or(0),
            ProtocolVersion::V311 | ProtocolVersion::V31 if connect.clean_start => 0,
            ProtocolVersion::V311 | ProtocolVersion::V31 => config.session_expiry_311_s,
        };
        requested_s.min(config.max_session_expiry_s)
    }

    /// The keep-alive that the server keeps to. 3.1.1 has no way to tell the client another one.
    fn effective_keep_alive_s(&self, requested_s: u16) -> u16 {
        let max_s = self.cold.config.client_limits.max_keep_alive_s;
        if !self.version.has_properties() || max_s == 0 {
            return requested_s;
        }
        if requested_s == 0 {
            max_s
        } else {
            requested_s.min(max_s)
        }
    }

    /// Asks storage for the session.
    pub(crate) fn ask_for_session(&mut self, placement: &Placement, cx: &mut Context<'_>) {
        let (Some(attaching), Some(session)) = (&mut self.cold.attaching, &mut self.cold.session) else {
            return;
        };
        session.publisher = placement.publisher_id(&session.client_id);
        let will = attaching.will.take().map(|mut will| {
            will.message.publisher = session.publisher;
            will
        });
        session.will = will.clone();
        let request = cx.shared.requests.add(Request::Attach(cx.token, cx.now));
        cx.shared.attaches.asked(cx.now);
        attaching.request = Some(request);
        if !cx.shared.keeps_sessions {
            attaching.granted_expiry_s = 0;
        }
        cx.out.to_link.push(ToLink::AttachSession {
            request,
            client_id: session.client_id.to_bytes(),
            clean_start: attaching.clean_start,
            session_expiry_interval_s: attaching.granted_expiry_s,
            will,
        });
    }

    /// Storage has given the session to this connection: answers CONNECT, or first has the subscriptions of the
    /// session act again.
    ///
    /// # Errors
    /// [`Ending`] when CONNACK does not fit the client's maximum packet size.
    pub(crate) fn on_attached(
        &mut self,
        epoch: SessionEpoch,
        session_present: bool,
        stored: Option<&StoredSession>,
        cx: &mut Context<'_>,
    ) -> Result<(), Ending> {
        let (Some(attaching), Some(session)) = (&mut self.cold.attaching, &mut self.cold.session) else {
            return Ok(());
        };
        session.epoch = Some(epoch);
        attaching.session_present = Some(session_present);
        let expiry_s = attaching.granted_expiry_s;
        cx.shared.clients.insert(&session.client_id, cx.token.slot());
        let shard = cx
            .shared
            .placement
            .as_ref()
            .map(|p| p.shard_of_client(&session.client_id));
        let may_answer = match (stored, shard) {
            (Some(stored), Some(shard)) => self.restore(stored, shard, expiry_s, cx),
            (None, Some(shard)) if expiry_s > 0 => {
                session.durable = Some(Box::new(Durable::begin(epoch, shard, expiry_s)));
                true
            }
            _ => true,
        };
        if may_answer { self.accept(cx) } else { Ok(()) }
    }

    /// Answers CONNECT, and goes on with what the session had on its way.
    ///
    /// # Errors
    /// [`Ending`] when CONNACK does not fit the client's maximum packet size.
    pub(crate) fn accept(&mut self, cx: &mut Context<'_>) -> Result<(), Ending> {
        let (Some(attaching), Some(session)) = (self.cold.attaching.take(), &mut self.cold.session) else {
            return Ok(());
        };
        let (client_id, is_bridge) = (session.client_id.clone(), session.is_bridge);
        let is_durable = session.durable.is_some();
        if let Some(durable) = session.durable.as_mut().filter(|durable| !durable.is_resumed) {
            durable.tell_begun();
        }
        // One that does not fit ends a connection that was never accepted: no other packet may come first (MQTT-3.2.0-1).
        self.send_connack(&attaching, &client_id, attaching.session_present.unwrap_or(false), cx)?;
        if is_durable {
            cx.shared.stats.durable_sessions_now += 1;
        }
        let fact = Fact::Connected {
            token: cx.token,
            client_id,
            assigned: attaching.assigned,
            peer: self.cold.origin.peer(),
            listener: self.cold.origin.listener(),
            version: self.version,
            bridge: is_bridge,
            keep_alive_s: self.keep_alive_s,
            clean_start: attaching.clean_start,
        };
        cx.out.facts.push(fact);
        cx.shared.stats.attaching_now = cx.shared.stats.attaching_now.saturating_sub(1);
        cx.shared.stats.clients_now += 1;
        cx.shared.stats.connects_accepted += 1;
        cx.shared.connacks.observe(QoS::AtMostOnce, attaching.since, cx.now);
        self.phase = Phase::Connected;
        self.last_received = cx.now;
        self.resume_exchanges(cx)?;
        self.schedule_update(cx);
        self.arm(cx);
        // What came behind CONNECT waits.
        cx.shared.to_resume.push(cx.token);
        Ok(())
    }

    fn send_connack(
        &mut self,
        attaching: &Attaching,
        client_id: &[u8],
        session_present: bool,
        cx: &mut Context<'_>,
    ) -> Result<(), Ending> {
        let config = self.cold.config.clone();
        let proxy_name = config.proxy_in_connack.then(|| cx.shared.settings.proxy_name.clone());
        let user_property = proxy_name.as_deref().map(|name| (PROXY_PROPERTY, name));
        let keep_alive_s = self.keep_alive_s;
        let properties = ConnAckProperties {
            // MQTT 5.0, 3.2.2.3.2: said only when it differs from what was asked for.
            session_expiry_interval: (attaching.requested_expiry_s != attaching.granted_expiry_s)
                .then_some(attaching.granted_expiry_s),
            receive_maximum: NonZeroU16::new(config.mqtt.receive_maximum),
            // MQTT-3.2.2-9: QoS 2 is said by saying nothing.
            maximum_qos: Some(self.max_qos()).filter(|qos| *qos < QoS::ExactlyOnce),
            maximum_packet_size: NonZeroU32::new(config.client_limits.max_packet_bytes),
            // MQTT-3.2.2-16
            assigned_client_identifier: attaching
                .assigned
                .then(|| str::from_utf8(client_id).unwrap_or_default()),
            topic_alias_maximum: Some(config.mqtt.topic_alias_maximum),
            shared_subscription_available: Some(cx.shared.shares),
            // MQTT-3.2.2-21
            server_keep_alive_seconds: (keep_alive_s != attaching.requested_keep_alive_s).then_some(keep_alive_s),
            user_properties: UserProperties::from_pairs(user_property.as_slice()),
            ..ConnAckProperties::default()
        };
        // MQTT-3.2.2-2: a clean start has no session present.
        let session_present = session_present && !attaching.clean_start;
        let connack = ConnAck {
            session_present,
            reason_code: ReasonCode::Success,
            properties,
        };
        self.answer(cx, |peer, out| connack.encode(peer, out))
    }

    /// Storage has refused the session.
    pub(crate) fn on_refused(&self, refusal: SessionRefusal) -> Ending {
        match refusal {
            SessionRefusal::QuotaExceeded => self.refuse(DisconnectReason::QuotaExceeded),
            SessionRefusal::Superseded => DisconnectReason::TakenOver.into(),
        }
    }

    /// The end of a connection whose CONNECT was understood.
    pub(crate) fn refuse(&self, reason: DisconnectReason) -> Ending {
        self.refuse_as(&self.peer(), reason)
    }

    fn refuse_as(&self, peer: &Peer, reason: DisconnectReason) -> Ending {
        let code = match (reason, peer.version.has_properties()) {
            // 3.1.1 has no word for these two; that the service is unavailable says what to do.
            (DisconnectReason::QuotaExceeded | DisconnectReason::ServerBusy, false) => {
                Some(ReasonCode::ServerUnavailable)
            }
            _ => reason.connack_code(),
        };
        Ending {
            reason,
            refused: None,
            connack: code.map(|code| (*peer, code)),
        }
    }
}

/// The end of a connection whose CONNECT the codec refused. 5.0 is told why (MQTT 5.0, 4.13); 3.1.1 is told only that
/// its version is not spoken (MQTT-3.1.2-2 of 3.1.1).
fn refuse_undecoded(body: &[u8], error: DecodeError) -> Ending {
    let version = match error.kind {
        // A later version will know the form of 5.0; what else this may be, 3.1.1's is the oldest that says it.
        DecodeErrorKind::UnsupportedProtocolLevel { level: 6..0x80 } => Some(ProtocolVersion::V5),
        DecodeErrorKind::UnsupportedProtocolLevel { .. } => Some(ProtocolVersion::V311),
        _ => Protocol::peek(body)
            .ok()
            .map(|p| p.version)
            .filter(|v| v.has_properties()),
    };
    Ending {
        connack: version.map(|version| (Peer::new(version), error.reason_code)),
        ..Ending::from(error)
    }
}

/// What a CONNECT says of how its client is to be answered.
fn peer_of(connect: &Connect<'_>) -> Peer {
    let properties = &connect.properties;
    Peer {
        version: connect.protocol.version,
        max_packet_bytes: properties.maximum_packet_size.map_or(MAX_PACKET_BYTES, NonZeroU32::get),
        request_problem_information: properties.request_problem_information.unwrap_or(true),
    }
}

/// Whether a topic name or filter keeps to the server's own limits.
pub(super) fn topic_is_allowed(topic: &str, config: &freshet_config::MqttConfig) -> bool {
    topic.len() <= usize::from(config.max_topic_bytes)
        && topic.bytes().filter(|byte| *byte == b'/').count() < usize::from(config.max_topic_levels)
}

fn will_of(will: &ConnectWill<'_>) -> Will {
    let properties = &will.properties;
    let packed = pack(will.topic_name, will.payload, will.payload.len() + 64, |out| {
        properties.write_forwarded(out)
    });
    Will {
        message: Message {
            topic_name: packed.topic_name,
            payload: packed.payload,
            qos: will.qos,
            retain: will.retain,
            publisher: PublisherId::default(),
            message_expiry_interval_s: properties.message_expiry_interval,
            forwarded_properties: packed.forwarded_properties,
            exactly_once: None,
        },
        delay_interval_s: properties.will_delay_interval.unwrap_or(0),
    }
}
