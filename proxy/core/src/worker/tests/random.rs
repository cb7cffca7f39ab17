//! Clients that do anything in any order, a storage that comes and goes, sockets that take some bytes: whatever
//! happens, the counters tell the truth, memory keeps to its bounds and every publication gets one answer.

mod world;

use proptest::prelude::*;

use self::world::World;
use super::bench::*;

#[derive(Debug, Clone)]
enum Step {
    Open {
        version: u8,
        client_id: u8,
        receive_maximum: u16,
        max_packet: bool,
        lasting: bool,
    },
    Garbage {
        client: u8,
        bytes: Vec<u8>,
    },
    Publish {
        client: u8,
        topic: u8,
        qos: u8,
        packet_id: u16,
        bytes: u16,
        retain: bool,
        cut: u8,
    },
    Acknowledge {
        client: u8,
        kind: u8,
        packet_id: u16,
    },
    AcknowledgeAll {
        client: u8,
    },
    Subscribe {
        client: u8,
        filter: u8,
        qos: u8,
        retain_handling: u8,
        no_local: bool,
    },
    Unsubscribe {
        client: u8,
        filter: u8,
    },
    Ping {
        client: u8,
    },
    Disconnect {
        client: u8,
        with_will: bool,
    },
    HangUp {
        client: u8,
    },
    Read {
        client: u8,
        bytes: u16,
    },
    Pass {
        ms: u16,
    },
    Hold {
        what: u8,
    },
    Release,
    AnswerOne {
        at: u8,
    },
    StorageAway,
    StorageBack,
    Overrun {
        shard: u8,
    },
    Register {
        shard: u8,
    },
    CloseEnded,
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    let client = || any::<u8>();
    prop_oneof![
        4 => (0..3_u8, 0..6_u8, 1..20_u16, any::<bool>(), any::<bool>()).prop_map(
            |(version, client_id, receive_maximum, max_packet, lasting)| {
                Step::Open { version, client_id, receive_maximum, max_packet, lasting }
            }
        ),
        1 => (client(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(client, bytes)| Step::Garbage { client, bytes }),
        12 => (client(), 0..5_u8, 0..3_u8, 1..8_u16, 0..6_000_u16, any::<bool>(), any::<u8>()).prop_map(
            |(client, topic, qos, packet_id, bytes, retain, cut)| {
                Step::Publish { client, topic, qos, packet_id, bytes, retain, cut }
            }
        ),
        4 => (client(), 0..4_u8, 1..12_u16).prop_map(|(client, kind, packet_id)| {
            Step::Acknowledge { client, kind, packet_id }
        }),
        6 => client().prop_map(|client| Step::AcknowledgeAll { client }),
        6 => (client(), 0..6_u8, 0..3_u8, 0..3_u8, any::<bool>()).prop_map(
            |(client, filter, qos, retain_handling, no_local)| {
                Step::Subscribe { client, filter, qos, retain_handling, no_local }
            }
        ),
        2 => (client(), 0..6_u8).prop_map(|(client, filter)| Step::Unsubscribe { client, filter }),
        1 => client().prop_map(|client| Step::Ping { client }),
        1 => (client(), any::<bool>()).prop_map(|(client, with_will)| Step::Disconnect { client, with_will }),
        1 => client().prop_map(|client| Step::HangUp { client }),
        8 => (client(), any::<u16>()).prop_map(|(client, bytes)| Step::Read { client, bytes }),
        3 => (0..20_000_u16).prop_map(|ms| Step::Pass { ms }),
        2 => (0..4_u8).prop_map(|what| Step::Hold { what }),
        3 => Just(Step::Release),
        3 => any::<u8>().prop_map(|at| Step::AnswerOne { at }),
        1 => Just(Step::StorageAway),
        2 => Just(Step::StorageBack),
        1 => (0..2_u8).prop_map(|shard| Step::Overrun { shard }),
        1 => (0..2_u8).prop_map(|shard| Step::Register { shard }),
        3 => Just(Step::CloseEnded),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(2_000), ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_is_lost_leaked_or_answered_twice(
        steps in prop::collection::vec(step(), 1..150),
        drain_at in prop::option::weighted(0.2, 0_usize..150),
    ) {
        let mut world = World::new();
        for (at, step) in steps.iter().enumerate() {
            if Some(at) == drain_at {
                world.take(&Step::Drain);
            }
            world.take(step);
            world.check();
        }
        world.finish();
    }

    #[test]
    fn random_bytes_never_hurt(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20), connected: bool) {
        let mut bench = Bench::new();
        let client = if connected { bench.client(V5, "c") } else { bench.open(V5) };
        for piece in &pieces {
            bench.send_bytes(client, piece);
        }
        bench.hang_up(client);
        bench.close_ended();
        prop_assert_eq!(bench.worker.stats().input_bytes_now, 0);
        prop_assert_eq!(bench.worker.connections.len(), 0);
    }
}
