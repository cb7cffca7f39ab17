//! PUBACK (MQTT 5.0, 3.4): the answer to a PUBLISH of QoS 1.

super::ack::ack_packet! {
    /// PUBACK, the answer to a PUBLISH of QoS 1 (MQTT 5.0, 3.4).
    PubAck
}
