//! What libraries for microcontrollers are known to do, imitated on a bare socket.

use freshet_mqtt::{
    ClientPacket, PacketId, PacketType, PubRel, Publish, PublishProperties, QoS, ReasonCode, Subscribe,
    SubscribeFilter, SubscribeFilters, SubscriptionOptions, TopicFilter, UserProperties,
};

use crate::stage::{Heard, Message, Played, Stage, message, one};

/// Larger than anything in these scripts.
const AMPLE_BYTES: usize = 64 << 10;

/// esp-mqtt sends a PUBLISH again, on the same connection, when it is not acknowledged within a second. A broker that
/// takes that for another message multiplies the load when it is slow already.
pub(super) async fn esp_mqtt(stage: &mut Stage<'_>) -> Played {
    let topic = stage.topic("t");
    let mut subscriber = stage.subscriber(stage.named("s"), one(&topic, 2)).await?;
    let device = stage.device("device", AMPLE_BYTES).await?;
    let publish = |qos, id: PacketId, payload: &'static str, dup| {
        ClientPacket::Publish(Publish {
            dup,
            qos,
            retain: false,
            topic_name: &topic,
            packet_id: Some(id),
            properties: PublishProperties::default(),
            payload: payload.as_bytes(),
        })
    };
    let (first, second, third) = (
        PacketId::MIN,
        PacketId::MIN.saturating_add(1),
        PacketId::MIN.saturating_add(2),
    );

    // Both are in the broker's buffer before it can have answered one.
    device.send(&[
        publish(QoS::AtLeastOnce, first, "at QoS 1", false),
        publish(QoS::AtLeastOnce, first, "at QoS 1", true),
    ])?;
    device.expect_acks(PacketType::PubAck, first, 1).await?;

    device.send(&[publish(QoS::ExactlyOnce, second, "at QoS 2", false)])?;
    device.expect_acks(PacketType::PubRec, second, 1).await?;
    device.send(&[publish(QoS::ExactlyOnce, second, "at QoS 2", true)])?;
    device.expect_acks(PacketType::PubRec, second, 2).await?;
    device.send(&[ClientPacket::PubRel(PubRel::new(second, ReasonCode::Success))])?;
    device.expect_acks(PacketType::PubComp, second, 1).await?;

    device.send(&[publish(QoS::AtLeastOnce, third, "the next", false)])?;
    device.expect_acks(PacketType::PubAck, third, 1).await?;
    let expected = [("at QoS 1", 1), ("at QoS 2", 2), ("the next", 1)];
    let expected = expected.map(|(payload, qos)| Message::live(&topic, payload, qos));
    stage.expect("each once", &mut subscriber, &expected).await
}

/// PubSubClient has a buffer of 256 bytes: it skips larger packets, and never acknowledges them.
pub(super) async fn pub_sub_client(stage: &mut Stage<'_>) -> Played {
    const BUFFER_BYTES: usize = 256;
    /// More than may be unacknowledged.
    const MESSAGES: usize = 100;
    let topic = stage.topic("t");
    let device = stage.device("device", BUFFER_BYTES).await?;
    let filters = [SubscribeFilter {
        topic_filter: TopicFilter::parse(&topic).map_err(anyhow::Error::from)?,
        options: SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            ..SubscriptionOptions::default()
        },
    }];
    device.send(&[ClientPacket::Subscribe(Subscribe {
        packet_id: PacketId::MIN,
        subscription_identifier: None,
        user_properties: UserProperties::default(),
        filters: SubscribeFilters::from_slice(&filters),
    })])?;
    device
        .expect("SUBSCRIBE", "SUBACK", |heard| {
            matches!(heard, Heard::Other(PacketType::SubAck)).then_some(())
        })
        .await?;
    let mut publisher = stage.publisher(stage.named("p")).await?;
    stage
        .publish(&mut publisher, message(&topic, &"x".repeat(BUFFER_BYTES), 1))
        .await?;
    let payloads: Vec<String> = (0..MESSAGES).map(|n| format!("message {n}")).collect();
    for payload in &payloads {
        stage.publish(&mut publisher, message(&topic, payload, 1)).await?;
    }
    let seen = device.expect_messages("what fits goes on", MESSAGES).await?;
    stage.check("what fits goes on, in order", &payloads, &seen);
    device.send(&[ClientPacket::PingReq])?;
    device
        .expect("PINGREQ", "PINGRESP", |heard| {
            matches!(heard, Heard::Other(PacketType::PingResp)).then_some(())
        })
        .await?;
    let skipped = device.heard(|heard| (*heard == Heard::TooLarge).then_some(()));
    stage.check("what does not fit is sent once", &1, &skipped.len());
    let repeated = device.heard(|heard| matches!(heard, Heard::Publish { dup: true, .. }).then_some(()));
    stage.check("nothing is sent again", &0, &repeated.len());
    stage.check("the connection stays", &false, &device.is_closed());
    Ok(())
}
