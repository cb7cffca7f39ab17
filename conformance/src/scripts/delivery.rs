//! Messages at each QoS, and topic aliases.

use freshet_mqtt::PacketType;

use crate::cannot::Feature;
use crate::message::Publish;
use crate::relay::Packet;
use crate::stage::{Message, Played, Stage, message, one};

pub(super) async fn every_qos(stage: &mut Stage<'_>) -> Played {
    let topic = stage.topic("t");
    let mut subscribers = Vec::new();
    for qos in 0..=2 {
        let connect = stage.named(&format!("s{qos}"));
        subscribers.push(stage.subscriber(connect, one(&topic, qos)).await?);
    }
    let mut publisher = stage.publisher(stage.named("p")).await?;
    for published in 0..=2 {
        let payload = format!("at {published}");
        stage
            .publish(&mut publisher, message(&topic, &payload, published))
            .await?;
        for (granted, subscriber) in (0..=2).zip(&mut subscribers) {
            let expected = [Message::live(&topic, &payload, published.min(granted))];
            let step = format!("published at {published}, granted {granted}");
            stage.expect(&step, subscriber, &expected).await?;
        }
    }
    let answers = publisher.packets(|packet| match packet {
        Packet::Ack { packet_type, .. } => Some(*packet_type),
        _ => None,
    });
    let expected = vec![PacketType::PubAck, PacketType::PubRec, PacketType::PubComp];
    stage.check("answers to the publisher", &expected, &answers);
    Ok(())
}

pub(super) async fn alias(stage: &mut Stage<'_>) -> Played {
    const ALIAS: u16 = 1;
    const PAYLOADS: [&str; 3] = ["one", "two", "three"];
    let topic = stage.topic("a/rather/long/topic/name");
    let mut connect = stage.named("s");
    if stage.can(Feature::AliasIn) {
        connect.topic_alias_maximum = Some(5);
    }
    let mut subscriber = stage.subscriber(connect, one(&topic, 1)).await?;
    let mut connect = stage.named("p");
    connect.assign_topic_aliases = true;
    let mut publisher = stage.publisher(connect).await?;
    for payload in PAYLOADS {
        let publish = Publish {
            topic_alias: Some(ALIAS),
            ..message(&topic, payload, 1)
        };
        stage.publish(&mut publisher, publish).await?;
    }
    let expected = PAYLOADS.map(|payload| Message::live(&topic, payload, 1));
    stage
        .expect("aliases are understood", &mut subscriber, &expected)
        .await?;
    let short = |packet: &Packet| match packet {
        Packet::Publish { topic_name, .. } => Some(topic_name.is_empty()),
        _ => None,
    };
    let from_client = publisher.sent_packets(short);
    stage.check("the client left the name out", &vec![false, true, true], &from_client);
    if stage.can(Feature::AliasIn) {
        let from_broker = subscriber.packets(short);
        stage.check("the broker left the name out", &vec![false, true, true], &from_broker);
    }
    Ok(())
}
