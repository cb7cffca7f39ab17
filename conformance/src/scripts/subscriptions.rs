//! Filters that overlap, groups, and very many filters.

use std::collections::BTreeSet;

use crate::cannot::Feature;
use crate::message::{Command, Subscribe};
use crate::relay::Packet;
use crate::stage::{Message, Played, Stage, filter, message, one};

pub(super) async fn overlap(stage: &mut Stage<'_>) -> Played {
    let (plus, hash) = (stage.topic("a/+"), stage.topic("a/#"));
    let (child, parent, deep) = (stage.topic("a/b"), stage.topic("a"), stage.topic("a/b/c"));
    let identified = stage.can(Feature::SubscriptionIdentifier);
    let qos;
    let mut subscriber;
    if stage.can(Feature::QosPerFilter) {
        qos = 2;
        let with = |filter: &str, qos, identifier| Subscribe {
            identifier: identified.then_some(identifier),
            ..one(filter, qos)
        };
        subscriber = stage.subscriber(stage.named("s"), with(&plus, 0, 1)).await?;
        subscriber.tell(Command::Subscribe(with(&hash, qos, 2)))?;
        let codes = subscriber.expect_suback("the second SUBSCRIBE").await?;
        stage.check("the second SUBSCRIBE", &vec![qos], &codes);
    } else {
        qos = 1;
        let subscribe = Subscribe {
            filters: vec![filter(&plus, qos), filter(&hash, qos)],
            identifier: identified.then_some(1),
        };
        subscriber = stage.subscriber(stage.named("s"), subscribe).await?;
    }
    let mut publisher = stage.publisher(stage.named("p")).await?;
    let topics = [&child, &parent, &deep];
    for topic in topics {
        stage.publish(&mut publisher, message(topic, "once", 2)).await?;
    }
    let expected = topics.map(|topic| Message::live(topic, "once", qos));
    stage.expect("one copy of each", &mut subscriber, &expected).await?;
    if identified {
        let seen = subscriber.packets(|packet| match packet {
            Packet::Publish {
                subscription_identifiers,
                ..
            } => Some(subscription_identifiers.iter().copied().collect::<BTreeSet<u32>>()),
            _ => None,
        });
        let (both, second): (&[u32], &[u32]) = if stage.can(Feature::QosPerFilter) {
            (&[1, 2], &[2])
        } else {
            (&[1], &[1])
        };
        let expected = [both, second, second].map(|ids| BTreeSet::from_iter(ids.iter().copied()));
        stage.check("identifiers", &expected.to_vec(), &seen);
    }
    if stage.can(Feature::Unsubscribe) {
        subscriber.tell(Command::Unsubscribe {
            topic_filters: vec![hash],
        })?;
        subscriber
            .expect_event("UNSUBSCRIBE", "UNSUBACK", |event| {
                (*event == crate::message::Event::Unsubscribed).then_some(())
            })
            .await?;
        stage.publish(&mut publisher, message(&deep, "nobody", 1)).await?;
        stage
            .publish(&mut publisher, message(&child, "the other filter", 1))
            .await?;
        let expected = [Message::live(&child, "the other filter", 0)];
        stage
            .expect("the other filter stays", &mut subscriber, &expected)
            .await?;
    }
    Ok(())
}

pub(super) async fn shared(stage: &mut Stage<'_>) -> Played {
    const MEMBERS: usize = 3;
    const MESSAGES: usize = 30;
    let topic = stage.topic("work");
    let group = format!("$share/group/{topic}");
    let mut members = Vec::new();
    for member in 0..MEMBERS {
        let connect = stage.named(&format!("m{member}"));
        members.push(stage.subscriber(connect, one(&group, 1)).await?);
    }
    // Everybody outside of the group has its own copy.
    let mut beside = stage.subscriber(stage.named("beside"), one(&topic, 1)).await?;
    let mut publisher = stage.publisher(stage.named("p")).await?;
    let payloads: Vec<String> = (0..MESSAGES).map(|n| format!("task {n:02}")).collect();
    for payload in &payloads {
        stage.publish(&mut publisher, message(&topic, payload, 1)).await?;
    }
    let expected: Vec<Message> = payloads
        .iter()
        .map(|payload| Message::live(&topic, payload, 1))
        .collect();
    stage.expect("outside of the group", &mut beside, &expected).await?;
    let mut seen = stage.messages_of("the group", &mut members, MESSAGES).await?;
    seen.sort();
    stage.check("each once in the group", &expected, &seen);
    let idle = members.iter().filter(|member| member.message_count() == 0).count();
    stage.check("every member has work", &0, &idle);
    Ok(())
}

pub(super) async fn thousand_topics(stage: &mut Stage<'_>) -> Played {
    const TOPICS: usize = 1_000;
    /// Some libraries do not look at the broker's receive maximum.
    const WINDOW: usize = 20;
    let topics: Vec<String> = (0..TOPICS).map(|n| stage.topic(&format!("{n:03}"))).collect();
    let subscribe = Subscribe {
        filters: topics.iter().map(|topic| filter(topic, 1)).collect(),
        identifier: None,
    };
    let mut subscriber = stage.subscriber(stage.named("s"), subscribe).await?;
    let mut publisher = stage.publisher(stage.named("p")).await?;
    for window in topics.chunks(WINDOW) {
        let mut tags = Vec::with_capacity(WINDOW);
        for topic in window {
            tags.push(publisher.start_publish(message(topic, topic, 1))?);
        }
        for tag in tags {
            publisher.expect_published("PUBLISH", tag).await?;
        }
    }
    let expected: Vec<Message> = topics.iter().map(|topic| Message::live(topic, topic, 1)).collect();
    // Order holds per topic.
    stage
        .expect_any_order("one for each topic", &mut subscriber, &expected)
        .await
}
