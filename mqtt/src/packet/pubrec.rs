//! PUBREC (MQTT 5.0, 3.5): the first answer to a PUBLISH of QoS 2.

super::ack::ack_packet! {
    /// PUBREC, the first answer to a PUBLISH of QoS 2 (MQTT 5.0, 3.5).
    PubRec
}
