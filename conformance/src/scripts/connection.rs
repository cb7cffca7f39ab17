//! Coming, being replaced, falling silent, going.

use crate::cannot::Feature;
use crate::message::{Command, Will};
use crate::relay::{Gate, Packet};
use crate::stage::{Message, Played, Stage, message, one};

/// `mosquitto_sub` takes no shorter one.
const SHORT_KEEP_ALIVE_S: u16 = 5;

const NORMAL_DISCONNECTION: u8 = 0x00;
const DISCONNECT_WITH_WILL: u8 = 0x04;
const KEEP_ALIVE_TIMEOUT: u8 = 0x8D;
const SESSION_TAKEN_OVER: u8 = 0x8E;

pub(super) async fn connect(stage: &mut Stage<'_>) -> Played {
    let topic = stage.topic("hello");
    let mut subscriber = stage.subscriber(stage.named("s"), one(&topic, 0)).await?;
    let mut publisher = stage.publisher(stage.named("p")).await?;
    stage.publish(&mut publisher, message(&topic, "hello", 0)).await?;
    stage
        .expect("a message", &mut subscriber, &[Message::live(&topic, "hello", 0)])
        .await?;
    let present = subscriber.packets(|packet| match packet {
        Packet::ConnAck { session_present, .. } => Some(*session_present),
        _ => None,
    });
    stage.check("CONNACK", &vec![false], &present);
    subscriber.tell(Command::Disconnect)?;
    subscriber.expect_closed("DISCONNECT").await?;
    let said = subscriber.sent_packets(|packet| match packet {
        Packet::Disconnect { reason_code } => Some(*reason_code),
        _ => None,
    });
    let expected = if stage.can(Feature::NormalDisconnection) {
        NORMAL_DISCONNECTION
    } else {
        DISCONNECT_WITH_WILL
    };
    stage.check("DISCONNECT", &vec![expected], &said);
    Ok(())
}

pub(super) async fn takeover(stage: &mut Stage<'_>) -> Played {
    let topic = stage.topic("news");
    let first = stage.subscriber(stage.named("twin"), one(&topic, 1)).await?;
    let mut second = stage.subscriber(stage.named("twin"), one(&topic, 1)).await?;
    let code = first.expect_closed("the first is disconnected").await?;
    let told = stage.is_v5().then_some(SESSION_TAKEN_OVER);
    stage.check("the first is told", &told, &code);
    let mut publisher = stage.publisher(stage.named("p")).await?;
    stage
        .publish(&mut publisher, message(&topic, "to the second", 1))
        .await?;
    stage
        .expect(
            "the second is served",
            &mut second,
            &[Message::live(&topic, "to the second", 1)],
        )
        .await
}

pub(super) async fn keep_alive(stage: &mut Stage<'_>) -> Played {
    let (topic, wills) = (stage.topic("unused"), stage.topic("wills"));
    let mut watcher = stage.subscriber(stage.named("w"), one(&wills, 1)).await?;
    let mut connect = stage.named("silent");
    connect.keep_alive_s = SHORT_KEEP_ALIVE_S;
    connect.will = Some(Will {
        topic: wills.clone(),
        payload: "lost".into(),
        qos: 1,
        ..Will::default()
    });
    let silent = stage.subscriber(connect, one(&topic, 0)).await?;
    silent.set(Gate::Frozen);
    stage
        .expect("the will", &mut watcher, &[Message::live(&wills, "lost", 1)])
        .await?;
    silent.set(Gate::Open);
    let code = silent.expect_closed("the silent client is disconnected").await?;
    let told = stage.is_v5().then_some(KEEP_ALIVE_TIMEOUT);
    stage.check("the reason", &told, &code);
    Ok(())
}
