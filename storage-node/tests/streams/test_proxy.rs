//! A proxy that does what a test tells it, through the client that proxies use.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use freshet_storage_api::{ConnectError, Link, LinkError, connect};
use freshet_storage_contract::{
    Answer, AttachProxy, ClusterUid, Delivery, DeliveryControl, DeliverySeq, FilterId, FilterShards, IncarnationId,
    InterestChange, InterestDelta, InterestVersion, Message, NumberedDelivery, Operation, PROTOCOL_VERSION, Placement,
    PublishBatch, PublishOutcome, PublishSeq, PublisherId, QoS, ShardId, ShardResume, Term,
};

use crate::test_node::{CLUSTER_UID, within};

/// What an incarnation says of itself when it attaches for the first time.
pub(crate) fn introduction(incarnation: IncarnationId) -> AttachProxy {
    AttachProxy {
        cluster_uid: ClusterUid(CLUSTER_UID.to_owned()),
        incarnation,
        proxy_name: format!("proxy-{incarnation}"),
        protocol_version: PROTOCOL_VERSION,
        features: Vec::new(),
        highest_term: Term(0),
        resume: Vec::new(),
    }
}

/// An incarnation that no other test of this process has.
pub(crate) fn new_incarnation() -> IncarnationId {
    static LAST: AtomicU64 = AtomicU64::new(0);
    IncarnationId(LAST.fetch_add(1, Ordering::Relaxed).into())
}

pub(crate) fn message(topic_name: &str, payload: impl Into<Bytes>) -> Message {
    Message {
        topic_name: Bytes::copy_from_slice(topic_name.as_bytes()),
        payload: payload.into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        publisher: PublisherId(1),
        message_expiry_interval_s: None,
        forwarded_properties: Bytes::new(),
        exactly_once: None,
    }
}

/// An attached proxy.
pub(crate) struct TestProxy {
    pub(crate) incarnation: IncarnationId,
    pub(crate) link: Link,
    placement: Placement,
    answers: VecDeque<Answer>,
    deliveries: VecDeque<NumberedDelivery>,
}

impl TestProxy {
    pub(crate) async fn attach(endpoint: &str) -> Self {
        Self::attach_as(endpoint, introduction(new_incarnation()))
            .await
            .unwrap()
    }

    pub(crate) async fn attach_as(endpoint: &str, introduction: AttachProxy) -> Result<Self, ConnectError> {
        let link = within(connect(endpoint, &introduction)).await?;
        let attached = &link.attached;
        let placement = Placement::new(&introduction.cluster_uid, attached.shards, &attached.placement_rules).unwrap();
        let proxy = Self {
            incarnation: introduction.incarnation,
            link,
            placement,
            answers: VecDeque::new(),
            deliveries: VecDeque::new(),
        };
        proxy.control(DeliveryControl::Credit { bytes: 16 << 20 });
        Ok(proxy)
    }

    pub(crate) fn operate(&self, operation: Operation) {
        self.link.operations.try_send(&mut vec![operation]).unwrap();
    }

    pub(crate) fn control(&self, control: DeliveryControl) {
        self.link.controls.try_send(&mut vec![control]).unwrap();
    }

    pub(crate) fn shard_of(&self, topic_name: &str) -> ShardId {
        self.placement.shard_of_topic(topic_name)
    }

    /// Subscribes to an exact filter and waits until it acts.
    pub(crate) async fn subscribe(&mut self, filter_id: u32, topic_filter: &str) {
        let FilterShards::One(shard) = self.placement.shards_of_filter(topic_filter) else {
            panic!("{topic_filter} lives at more than one shard");
        };
        let changes = vec![InterestChange::Add {
            filter_id: FilterId(filter_id),
            topic_filter: Bytes::copy_from_slice(topic_filter.as_bytes()),
        }];
        self.change_interest(shard, changes).await;
    }

    /// Replaces the proxy's interest in a shard and waits until it acts.
    pub(crate) async fn change_interest(&mut self, shard: ShardId, changes: Vec<InterestChange>) {
        let version = InterestVersion(1);
        self.operate(Operation::Interest(InterestDelta {
            shard,
            version,
            complete: true,
            changes,
        }));
        let marker = self.next_delivery().await;
        assert_eq!((marker.shard, &marker.delivery), (shard, &Delivery::Marker { version }));
        self.acknowledge(&marker);
    }

    pub(crate) fn publish(&self, first: u64, messages: Vec<Message>) -> ShardId {
        let topic_name = std::str::from_utf8(&messages[0].topic_name).unwrap();
        let shard = self.shard_of(topic_name);
        self.operate(Operation::Publish(PublishBatch {
            shard,
            first: PublishSeq(first),
            messages: messages.into_iter().map(Into::into).collect(),
            lasting: None,
        }));
        shard
    }

    pub(crate) async fn next_answer(&mut self) -> Answer {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return answer;
            }
            self.answers.extend(within(self.link.answers.recv()).await.unwrap());
        }
    }

    /// Waits for the outcomes of so many publications, which come in order.
    pub(crate) async fn outcomes(&mut self, first: u64, count: usize) -> Vec<PublishOutcome> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.next_answer().await {
                Answer::Published {
                    first: found, outcomes, ..
                } => {
                    assert_eq!(found.0, first + all.len() as u64);
                    all.extend(outcomes);
                }
                other => panic!("{other:?}"),
            }
        }
        all
    }

    pub(crate) async fn next_delivery(&mut self) -> NumberedDelivery {
        loop {
            if let Some(delivery) = self.deliveries.pop_front() {
                return delivery;
            }
            self.deliveries
                .extend(within(self.link.deliveries.recv()).await.unwrap());
        }
    }

    /// Waits for a message, acknowledges and returns it.
    pub(crate) async fn next_message(&mut self) -> Arc<Message> {
        let delivery = self.next_delivery().await;
        self.acknowledge(&delivery);
        match delivery.delivery {
            Delivery::Message { message, .. } => message,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn acknowledge(&self, delivery: &NumberedDelivery) {
        let NumberedDelivery { shard, term, seq, .. } = *delivery;
        self.control(DeliveryControl::Acknowledge { shard, term, seq });
    }

    /// How the streams end, whichever says so first.
    pub(crate) async fn end(mut self) -> LinkError {
        loop {
            let ended = within(async {
                tokio::select! {
                    answers = self.link.answers.recv() => answers.map(drop),
                    deliveries = self.link.deliveries.recv() => deliveries.map(drop),
                }
            });
            if let Err(error) = ended.await {
                return error;
            }
        }
    }
}

/// How an incarnation attaches again that has received the deliveries of a shard up to `received`.
pub(crate) fn resumption(incarnation: IncarnationId, shard: ShardId, term: Term, received: DeliverySeq) -> AttachProxy {
    AttachProxy {
        highest_term: term,
        resume: vec![ShardResume { shard, term, received }],
        ..introduction(incarnation)
    }
}
