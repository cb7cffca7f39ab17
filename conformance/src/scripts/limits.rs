//! What is too large, too long, or not allowed.

use freshet_mqtt::PacketType;

use crate::cannot::Feature;
use crate::message::Event;
use crate::relay::Packet;
use crate::stage::{DEADLINE, Message, Played, Stage, message, one};

/// `limits.client.maxPacket` of the broker under test.
const MAX_PACKET_BYTES: usize = 1 << 20;
/// `mqtt.maxClientIdBytes`.
const MAX_CLIENT_ID_BYTES: usize = 1_024;
/// `mqtt.maxTopicLevels`.
const MAX_TOPIC_LEVELS: usize = 128;

const UNSPECIFIED_ERROR: u8 = 0x80;
const CLIENT_IDENTIFIER_NOT_VALID: u8 = 0x85;
const NOT_AUTHORIZED: u8 = 0x87;
const BAD_AUTHENTICATION_METHOD: u8 = 0x8C;
const TOPIC_FILTER_INVALID: u8 = 0x8F;

pub(super) async fn large(stage: &mut Stage<'_>) -> Played {
    let topic = stage.topic("large");
    let mut subscriber = stage.subscriber(stage.named("s"), one(&topic, 1)).await?;
    let mut publisher = stage.publisher(stage.named("p")).await?;
    // Fixed header with three bytes of remaining length, topic with its length, packet id, properties' length.
    let head = 4 + 2 + topic.len() + 2 + usize::from(stage.is_v5());
    let payload = "x".repeat(MAX_PACKET_BYTES - head);
    stage.publish(&mut publisher, message(&topic, &payload, 1)).await?;
    let expected = [Message::live(&topic, &payload, 1)];
    stage.expect("exactly the maximum", &mut subscriber, &expected).await?;

    let mut reckless = stage.publisher(stage.named("reckless")).await?;
    reckless.start_publish(message(&topic, &format!("{payload}x"), 1))?;
    // A library that looks at the broker's maximum refuses by itself; else the broker does.
    let refused = reckless.wait_for_refusal(DEADLINE).await;
    stage.check("one byte more", &true, &refused);
    let acknowledged = reckless.packets(|packet| match packet {
        Packet::Ack { .. } => Some(()),
        _ => None,
    });
    stage.check("is not acknowledged", &0, &acknowledged.len());
    stage
        .publish(&mut publisher, message(&topic, "others go on", 1))
        .await?;
    let expected = [Message::live(&topic, "others go on", 1)];
    stage
        .expect("only that client is affected", &mut subscriber, &expected)
        .await
}

pub(super) async fn refusals(stage: &mut Stage<'_>) -> Played {
    let mut connect = stage.named("");
    connect.client_id = format!("{}{}", connect.client_id, "x".repeat(MAX_CLIENT_ID_BYTES));
    let code = stage.refused("a client id that is too long", connect).await?;
    stage.check("a client id that is too long", &CLIENT_IDENTIFIER_NOT_VALID, &code);

    if stage.can(Feature::AuthenticationMethod) {
        let mut connect = stage.named("method");
        connect.authentication_method = Some("RIDDLE".into());
        let code = stage.refused("an unknown authentication method", connect).await?;
        stage.check("an unknown authentication method", &BAD_AUTHENTICATION_METHOD, &code);
    }

    let deep = stage.topic(&"a/".repeat(MAX_TOPIC_LEVELS));
    let mut subscriber = stage.subscribing(stage.named("deep"), one(&deep, 1)).await?;
    let codes = subscriber.expect_suback("a filter that is too deep").await?;
    let expected = if stage.is_v5() {
        TOPIC_FILTER_INVALID
    } else {
        UNSPECIFIED_ERROR
    };
    stage.check("a filter that is too deep", &vec![expected], &codes);

    let mut publisher = stage.publisher(stage.named("p")).await?;
    publisher.start_publish(message("$SYS/forged", "x", 1))?;
    let code = publisher
        .expect_packet("a publication below $SYS", "PUBACK", |packet| match packet {
            Packet::Ack {
                packet_type: PacketType::PubAck,
                reason_code,
            } => Some(*reason_code),
            _ => None,
        })
        .await?;
    let expected = if stage.is_v5() { NOT_AUTHORIZED } else { 0 };
    stage.check("a publication below $SYS", &expected, &code);
    publisher
        .expect_event("a publication below $SYS", "the client tells its user", |event| {
            matches!(event, Event::Published { .. } | Event::Failed { .. }).then_some(())
        })
        .await
}
