//! Retained messages.

use crate::cannot::Feature;
use crate::message::{Publish, Subscribe};
use crate::stage::{Message, Played, Stage, filter, message, one};

/// Retain Handling 2: nothing that is retained is sent at SUBSCRIBE.
const DO_NOT_SEND: u8 = 2;

pub(super) async fn retained(stage: &mut Stage<'_>) -> Played {
    let topic = stage.topic("state");
    let keep = |payload: &str| Publish {
        retain: true,
        ..message(&topic, payload, 1)
    };
    let mut publisher = stage.publisher(stage.named("p")).await?;
    let mut live = stage.subscriber(stage.named("live"), one(&topic, 1)).await?;
    stage.publish(&mut publisher, keep("off")).await?;
    stage.publish(&mut publisher, keep("on")).await?;
    let expected = ["off", "on"].map(|payload| Message::live(&topic, payload, 1));
    stage.expect("live, RETAIN is 0", &mut live, &expected).await?;

    let mut late = stage.subscriber(stage.named("late"), one(&topic, 1)).await?;
    let expected = [Message::retained(&topic, "on", 1)];
    stage.expect("the last one, RETAIN is 1", &mut late, &expected).await?;
    let wildcard = stage.topic("#");
    let mut low = stage.subscriber(stage.named("low"), one(&wildcard, 0)).await?;
    let expected = [Message::retained(&topic, "on", 0)];
    stage
        .expect("at the QoS of the subscription", &mut low, &expected)
        .await?;

    if stage.is_v5() {
        let mut subscribe = one(&topic, 1);
        subscribe.filters[0].retain_as_published = true;
        let mut published = stage.subscriber(stage.named("published"), subscribe).await?;
        stage.publish(&mut publisher, keep("again")).await?;
        let expected = ["on", "again"].map(|payload| Message::retained(&topic, payload, 1));
        stage.expect("retain as published", &mut published, &expected).await?;
    }
    if stage.can(Feature::RetainHandling) {
        let mut filter = filter(&topic, 1);
        filter.retain_handling = DO_NOT_SEND;
        let subscribe = Subscribe {
            filters: vec![filter],
            identifier: None,
        };
        let mut indifferent = stage.subscriber(stage.named("indifferent"), subscribe).await?;
        stage.publish(&mut publisher, message(&topic, "live", 1)).await?;
        let expected = [Message::live(&topic, "live", 1)];
        stage.expect("retain handling 2", &mut indifferent, &expected).await?;
    }

    stage.publish(&mut publisher, keep("")).await?;
    let mut later = stage.subscriber(stage.named("later"), one(&topic, 1)).await?;
    stage.publish(&mut publisher, message(&topic, "live", 1)).await?;
    let expected = [Message::live(&topic, "live", 1)];
    stage.expect("an empty payload clears", &mut later, &expected).await
}
