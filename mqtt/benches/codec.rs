//! Nanoseconds per packet of the codec, on one core: `cargo bench -p freshet-mqtt`.
//!
//! A figure to notice a slip of several times by, not a benchmark to tune a percent with.

#![allow(
    clippy::expect_used,
    reason = "a benchmark that cannot go on has nothing better to do"
)]

use std::hint::black_box;
use std::time::Instant;

use freshet_mqtt::{
    ClientPacket, DecodeLimits, FixedHeader, PacketId, Peer, ProtocolVersion, PubAck, Publish, PublishHead, QoS,
    ReasonCode, Sender, TopicFilter, TopicName, encode_publish,
};

const ROUNDS: u32 = 2_000_000;

fn measure(name: &str, mut round: impl FnMut()) {
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..ROUNDS {
                round();
            }
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    println!("{name:<48} {:>7.1} ns", best.as_secs_f64() * 1e9 / f64::from(ROUNDS));
}

fn main() {
    let payload = [0x5A; 64];
    let limits = DecodeLimits::default();
    for (name, version) in [("3.1.1", ProtocolVersion::V311), ("5.0", ProtocolVersion::V5)] {
        let head = PublishHead {
            qos: QoS::AtLeastOnce,
            topic_name: b"devices/0042/telemetry",
            packet_id: PacketId::new(1),
            ..PublishHead::default()
        };
        let mut bytes = Vec::with_capacity(256);
        encode_publish(&mut bytes, version, &head, &payload).expect("valid");
        measure(&format!("{name} decode PUBLISH, QoS 1, 64 bytes"), || {
            let bytes = black_box(bytes.as_slice());
            let header = FixedHeader::parse(bytes, 1_048_576).expect("valid").expect("complete");
            let body = header.body(bytes).expect("complete");
            black_box(ClientPacket::decode(version, header, body, &limits).expect("valid"));
        });
        measure(&format!("{name} decode the body alone"), || {
            let body = black_box(&bytes[2..]);
            black_box(Publish::decode(version, Sender::Client, 0b0010, body, &limits).expect("valid"));
        });
        let mut out = Vec::with_capacity(256);
        measure(&format!("{name} encode PUBLISH, QoS 1, 64 bytes"), || {
            out.clear();
            black_box(encode_publish(&mut out, version, black_box(&head), black_box(&payload)).expect("valid"));
        });
        let peer = Peer::new(version);
        let ack = PubAck::new(PacketId::MIN, ReasonCode::Success);
        measure(&format!("{name} encode PUBACK"), || {
            out.clear();
            black_box(black_box(&ack).encode(&peer, &mut out).expect("valid"));
        });
    }
    let filter = TopicFilter::parse("devices/+/telemetry").expect("valid");
    let name = TopicName::parse("devices/0042/telemetry").expect("valid");
    measure("match devices/+/telemetry", || {
        black_box(black_box(filter).matches(black_box(name)));
    });
}
