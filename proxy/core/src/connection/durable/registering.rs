//! A session as storage keeps it, for a shard that has forgotten it.

use freshet_mqtt::QoS;
use freshet_storage_contract::{
    OutboundExchange, OutboundStage, RetainHandling, StoredSession, StoredSubscription, SubscriptionOptions,
};

use super::Durable;
use crate::connection::session::Session;
use crate::filters::{FilterKey, FilterTable};

impl Durable {
    /// The exchanges that a connection after this one would have to go on with: those of QoS 2, and those of QoS 1 that
    /// the client may have seen.
    fn outbound(&self) -> Vec<OutboundExchange> {
        let of_next = |e: &super::Exchange| e.is_sent || e.qos == QoS::ExactlyOnce;
        let mut outbound: Vec<_> = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| of_next(exchange))
            .map(|(packet_id, exchange)| OutboundExchange {
                packet_id: *packet_id,
                shard: exchange.place.shard,
                position: exchange.place.position,
                qos: exchange.qos,
                stage: if exchange.is_received {
                    OutboundStage::Received
                } else {
                    OutboundStage::Sent
                },
                shared: exchange.shared.clone(),
                message: None,
            })
            .collect();
        outbound.sort_unstable_by_key(|e| (e.shard, e.position));
        outbound
    }

    /// Session Expiry Interval in seconds.
    pub(crate) fn expiry_s(&self) -> u32 {
        self.expiry_s
    }
}

impl Session {
    /// The session as a whole, if it outlives its connection; `slot`: that of the connection.
    pub(crate) fn stored(&self, filters: &FilterTable, slot: u32) -> Option<Box<StoredSession>> {
        let durable = self.durable.as_ref()?;
        let mut subscriptions: Vec<_> = self
            .subscriptions
            .iter()
            .filter_map(|key| self.stored_subscription(*key, filters, slot))
            .collect();
        subscriptions.sort_unstable_by(|a, b| a.topic_filter.cmp(&b.topic_filter));
        let cursors = durable.cursors.iter().map(super::Cursor::stored).collect();
        Some(Box::new(StoredSession {
            generation: durable.generation,
            subscriptions,
            cursors,
            outbound: durable.outbound(),
        }))
    }

    /// A subscription as storage keeps it.
    pub(crate) fn stored_subscription(
        &self,
        key: FilterKey,
        filters: &FilterTable,
        slot: u32,
    ) -> Option<StoredSubscription> {
        let subscriber = filters.subscriber(key, slot)?;
        let options = SubscriptionOptions {
            qos: subscriber.qos,
            no_local: subscriber.no_local,
            retain_as_published: subscriber.retain_as_published,
            // Has acted when the client subscribed.
            retain_handling: RetainHandling::Send,
        };
        Some(StoredSubscription {
            topic_filter: filters.topic_filter(key),
            options,
            subscription_identifier: Some(subscriber.identifier).filter(|id| *id != 0),
            starts: self.durable.as_ref()?.starts(key).to_vec(),
        })
    }
}
