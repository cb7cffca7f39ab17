//! Groups over a log that takes its time.

use freshet_storage_contract::{
    Lease, NumberedDelivery, SettleShared, Settlement, SharedGroup, SharedMessage, SharedStrategy,
};

use super::*;

const GROUP: FilterId = FilterId(2);

impl Bench {
    fn share(&mut self, version: u64) {
        let part = SharedGroup {
            filter_id: GROUP,
            share_name: Bytes::from_static(b"g"),
            topic_filter: Bytes::from_static(b"t"),
            strategy: SharedStrategy::RoundRobin,
            members: 1,
            window: 10,
        };
        let delta = InterestDelta {
            shard: S0,
            version: InterestVersion(version),
            complete: false,
            changes: vec![InterestChange::SetGroup(part)],
        };
        self.run(|shard, key, turn| shard.change_interest(key, &delta, turn));
    }

    fn take_numbered(&mut self) -> Vec<NumberedDelivery> {
        self.out.drain_proxies().flat_map(|f| f.deliveries).collect()
    }

    fn take_leases(&mut self) -> Vec<Lease> {
        let lease = |d: NumberedDelivery| match d.delivery {
            Delivery::Shared(SharedMessage { lease, .. }) => lease,
            _ => None,
        };
        self.take_numbered().into_iter().filter_map(lease).collect()
    }
}

fn has_marker(deliveries: &[NumberedDelivery], version: u64) -> bool {
    let version = InterestVersion(version);
    deliveries.iter().any(|d| d.delivery == Delivery::Marker { version })
}

#[test]
fn a_group_is_confirmed_when_the_log_has_it_and_takes_what_is_published_behind_it() {
    let mut b = bench();
    b.share(2);
    assert!(b.take_numbered().is_empty(), "nobody may rely on it yet");
    b.publish(1, "behind it", QoS::AtLeastOnce, false);
    b.share(3);
    b.commit(1);
    assert!(b.take_leases().is_empty());
    b.commit(2);
    let deliveries = b.take_numbered();
    assert!(has_marker(&deliveries, 3));
    assert!(deliveries.iter().any(|d| matches!(d.delivery, Delivery::Shared(_))));
    assert!(
        deliveries
            .iter()
            .any(|d| matches!(d.delivery, Delivery::Message { position: None, .. })),
        "no durable filter has it"
    );
}

#[test]
fn a_settlement_is_answered_when_the_log_has_it() {
    let mut b = bench();
    b.share(2);
    b.commit(1);
    b.publish(1, "x", QoS::AtLeastOnce, false);
    b.commit(1);
    let settled = b
        .take_leases()
        .into_iter()
        .map(|lease| (lease, Settlement::Done))
        .collect();
    let request = RequestId(4);
    let settle = SettleShared {
        request,
        shard: S0,
        filter_id: GROUP,
        settled,
    };
    for _ in 0..2 {
        b.run(|shard, key, turn| shard.settle_shared(key, &settle, turn));
    }
    assert_eq!(b.take_answers(), []);
    b.commit(1);
    let answer = Answer::SharedSettled { request };
    assert_eq!(b.take_answers(), [answer.clone(), answer]);
    assert_eq!(b.shard.state.queues.rows(), 0);
}
