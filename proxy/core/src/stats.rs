//! What a worker has counted. Plain numbers: the shell turns them into metrics, nobody looks up a label per message.

use freshet_mqtt::ReasonCode;
use freshet_storage_contract::ProxyReport;

use crate::reason::DisconnectReason;

/// Counters and gauges of one worker. Counters only grow; `..._now` are gauges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerStats {
    /// Connections that have a socket.
    pub connections_now: u64,
    /// Connections whose CONNECT was accepted and that have not ended.
    pub clients_now: u64,
    /// Connections taken over from the acceptor.
    pub connections_accepted: u64,
    /// CONNECTs answered with success.
    pub connects_accepted: u64,
    /// Ends of connections, by [`DisconnectReason::index`].
    pub disconnects: [u64; DisconnectReason::COUNT],
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes written.
    pub bytes_sent: u64,
    /// Packets received.
    pub packets_received: u64,
    /// Packets sent, other than PUBLISH.
    pub answers_sent: u64,
    /// PUBLISH packets received, by QoS.
    pub publishes_received: [u64; 3],
    /// PUBLISH packets sent, by QoS.
    pub publishes_sent: [u64; 3],
    /// Bytes of the payloads of PUBLISH packets received.
    pub payload_bytes_received: u64,
    /// Bytes of the payloads of PUBLISH packets sent.
    pub payload_bytes_sent: u64,
    /// PUBLISH packets that repeated an unacknowledged one of the same connection.
    pub publishes_repeated: u64,
    /// Publications dropped because the client may not make them: `$SYS`, `spec.authorization`.
    pub publishes_not_authorized: u64,
    /// Publications refused because their topic is longer or has more levels than it may.
    pub publishes_topic_invalid: u64,
    /// Topic filters of SUBSCRIBE that the rules do not allow.
    pub subscriptions_not_authorized: u64,
    /// Topic filters of SUBSCRIBE over the bound of their session, or over one of storage.
    pub subscriptions_over_quota: u64,
    /// Topic filters of SUBSCRIBE over the limits on length and levels, or of a kind that is not offered.
    pub subscriptions_not_taken: u64,
    /// Publications refused by a limit of the user on retained messages.
    pub publishes_over_quota: u64,
    /// QoS 0 publications dropped because storage was away and the bound on outstanding bytes was reached.
    pub publishes_shed: u64,
    /// Publications without outcome.
    pub publishes_outstanding_now: u64,
    /// Their bytes.
    pub publish_bytes_outstanding_now: u64,
    /// QoS 0 messages dropped because their client's outbound buffer was full.
    pub deliveries_shed: u64,
    /// QoS 1 and 2 messages dropped by `slowConsumer: DropOldest`.
    pub deliveries_dropped: u64,
    /// Messages dropped because their expiry interval had passed.
    pub deliveries_expired: u64,
    /// Messages not sent because they exceed the client's maximum packet size.
    pub deliveries_too_large: u64,
    /// Messages not sent because a client asked for no local ones.
    pub deliveries_not_local: u64,
    /// Messages kept from the subscribers of a filter that the rules do not allow any more.
    pub deliveries_not_authorized: u64,
    /// Messages that a client refused with an error in PUBACK or PUBREC.
    pub deliveries_refused: u64,
    /// Retained messages put into clients' queues.
    pub retained_delivered: u64,
    /// Acknowledgements of packet ids that were not in use.
    pub unknown_acknowledgements: u64,
    /// Bytes queued towards clients and not written.
    pub outbound_bytes_now: u64,
    /// Bytes of incomplete packets and of packets that wait.
    pub input_bytes_now: u64,
    /// Times that reading of a connection was paused.
    pub reading_paused: u64,
    /// Topic filters of this worker.
    pub filters_now: u64,
    /// Subscriptions of this worker's clients.
    pub subscriptions_now: u64,
    /// Sessions that wait for storage's answer to their CONNECT.
    pub attaching_now: u64,
    /// Of these, those that storage has not been asked for yet.
    pub attaches_waiting_now: u64,
    /// Sessions that storage is asked for at once.
    pub attach_window_now: u64,
    /// Messages of storage that no client here wanted any more.
    pub deliveries_unclaimed: u64,
    /// Connected clients whose session outlives the connection.
    pub durable_sessions_now: u64,
    /// Messages that were queued and have been read for a session that was behind.
    pub deliveries_pulled: u64,
    /// Messages sent again to a client that came back without having acknowledged them.
    pub deliveries_repeated: u64,
    /// Messages that were to be sent again and that storage no longer had.
    pub deliveries_gone: u64,
    /// Messages of shared subscriptions that a client left unacknowledged, for another member.
    pub shared_returned: u64,
    /// Times that a session had no room for a live message and went on from what is queued.
    pub sessions_fallen_behind: u64,
    /// Clients that are to go elsewhere and finish what they have in flight.
    pub moving_now: u64,
    /// Of these, those whose session ends with the connection: what they do not finish is lost.
    pub moving_at_risk_now: u64,
}

impl Default for WorkerStats {
    fn default() -> Self {
        Self {
            connections_now: 0,
            clients_now: 0,
            connections_accepted: 0,
            connects_accepted: 0,
            disconnects: [0; DisconnectReason::COUNT],
            bytes_received: 0,
            bytes_sent: 0,
            packets_received: 0,
            answers_sent: 0,
            publishes_received: [0; 3],
            publishes_sent: [0; 3],
            payload_bytes_received: 0,
            payload_bytes_sent: 0,
            publishes_repeated: 0,
            publishes_not_authorized: 0,
            publishes_topic_invalid: 0,
            subscriptions_not_authorized: 0,
            subscriptions_over_quota: 0,
            subscriptions_not_taken: 0,
            publishes_over_quota: 0,
            publishes_shed: 0,
            publishes_outstanding_now: 0,
            publish_bytes_outstanding_now: 0,
            deliveries_shed: 0,
            deliveries_dropped: 0,
            deliveries_expired: 0,
            deliveries_too_large: 0,
            deliveries_not_local: 0,
            deliveries_not_authorized: 0,
            deliveries_refused: 0,
            retained_delivered: 0,
            unknown_acknowledgements: 0,
            outbound_bytes_now: 0,
            input_bytes_now: 0,
            reading_paused: 0,
            filters_now: 0,
            subscriptions_now: 0,
            attaching_now: 0,
            attaches_waiting_now: 0,
            attach_window_now: 0,
            deliveries_unclaimed: 0,
            durable_sessions_now: 0,
            deliveries_pulled: 0,
            deliveries_repeated: 0,
            deliveries_gone: 0,
            shared_returned: 0,
            sessions_fallen_behind: 0,
            moving_now: 0,
            moving_at_risk_now: 0,
        }
    }
}

impl WorkerStats {
    /// Ends of connections for one reason.
    #[must_use]
    pub fn disconnects_by(&self, reason: DisconnectReason) -> u64 {
        self.disconnects.get(reason.index()).copied().unwrap_or(0)
    }

    /// Clients that were asked to go elsewhere and have gone.
    #[must_use]
    pub fn clients_moved(&self) -> u64 {
        self.disconnects_by(DisconnectReason::Moved) + self.disconnects_by(DisconnectReason::ServerShutdown)
    }

    /// What storage is told for the topics below `$SYS`: everything since the worker's start.
    #[must_use]
    pub fn report(&self) -> ProxyReport {
        let publishes_sent = self.publishes_sent.iter().sum();
        ProxyReport {
            subscriptions: self.subscriptions_now,
            connects: self.connects_accepted,
            packets_received: self.packets_received,
            packets_sent: self.answers_sent + publishes_sent,
            publishes_received: self.publishes_received.iter().sum(),
            publishes_sent,
            publishes_dropped: self.publishes_shed + self.deliveries_shed + self.deliveries_dropped,
            payload_bytes_received: self.payload_bytes_received,
            payload_bytes_sent: self.payload_bytes_sent,
            bytes_received: self.bytes_received,
            bytes_sent: self.bytes_sent,
        }
    }

    /// Counts a topic filter that SUBACK refuses with `code`.
    pub(crate) fn count_refused_subscription(&mut self, code: ReasonCode) {
        *match code {
            ReasonCode::NotAuthorized => &mut self.subscriptions_not_authorized,
            ReasonCode::QuotaExceeded => &mut self.subscriptions_over_quota,
            _ => &mut self.subscriptions_not_taken,
        } += 1;
    }

    pub(crate) fn count_disconnect(&mut self, reason: DisconnectReason) {
        if let Some(count) = self.disconnects.get_mut(reason.index()) {
            *count += 1;
        }
    }
}
