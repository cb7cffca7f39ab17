//! PUBREL (MQTT 5.0, 3.6): the answer to PUBREC, by which the sender gives the packet id up.

super::ack::ack_packet! {
    /// PUBREL, the answer to PUBREC, by which the sender gives the packet id up (MQTT 5.0, 3.6).
    PubRel
}
