//! PUBCOMP (MQTT 5.0, 3.7): the answer to PUBREL, the last packet of QoS 2.

super::ack::ack_packet! {
    /// PUBCOMP, the answer to PUBREL, the last packet of QoS 2 (MQTT 5.0, 3.7).
    PubComp
}
