//! Sessions that outlive their connection, and what expires.

use std::time::Duration;

use freshet_mqtt::PacketType;

use crate::message::{Connect, Publish, Will};
use crate::relay::{Gate, Packet};
use crate::stage::{DEADLINE, Message, Played, Stage, message, one};

/// Longer than any script.
const LONG_S: u32 = 600;

fn lasting(stage: &Stage<'_>, name: &str) -> Connect {
    Connect {
        clean: false,
        session_expiry_interval_s: stage.is_v5().then_some(LONG_S),
        ..stage.named(name)
    }
}

pub(super) async fn resume(stage: &mut Stage<'_>) -> Played {
    let topic = stage.topic("t");
    let mut publisher = stage.publisher(stage.named("p")).await?;
    let connect = lasting(stage, "s");
    let subscriber = stage.subscriber(connect, one(&topic, 2)).await?;
    stage.check("the session is new", &vec![false], &session_present(&subscriber));
    subscriber.disconnect().await?;
    // QoS 0 need not be kept, and is not.
    stage.publish(&mut publisher, message(&topic, "fleeting", 0)).await?;
    // Some libraries give a message of QoS 2 to their user only when its exchange is over: it comes last.
    let queued = [("one", 1), ("two", 1), ("three", 2)];
    for (payload, qos) in queued {
        stage.publish(&mut publisher, message(&topic, payload, qos)).await?;
    }
    let connect = lasting(stage, "s");
    let mut subscriber = stage.resumed(connect, one(&topic, 2)).await?;
    stage.require("the session is there", &vec![true], &session_present(&subscriber))?;
    let expected = queued.map(|(payload, qos)| Message::live(&topic, payload, qos));
    stage
        .expect("what was queued, in order", &mut subscriber, &expected)
        .await?;
    stage.publish(&mut publisher, message(&topic, "live", 2)).await?;
    let expected = [Message::live(&topic, "live", 2)];
    stage.expect("and what comes now", &mut subscriber, &expected).await?;

    // A lost connection is as good as a DISCONNECT. Of an exchange that is not over, a client that begins anew knows
    // nothing, and some take its rest for a fault.
    subscriber
        .expect_acknowledgements("both exchanges are over", PacketType::PubComp, 2)
        .await?;
    subscriber.set(Gate::Cut);
    stage.publish(&mut publisher, message(&topic, "meanwhile", 1)).await?;
    let connect = lasting(stage, "s");
    let mut subscriber = stage.resumed(connect, one(&topic, 2)).await?;
    let expected = [Message::live(&topic, "meanwhile", 1)];
    stage
        .expect("after a lost connection", &mut subscriber, &expected)
        .await?;

    // Clean: nothing is left of it.
    subscriber.disconnect().await?;
    stage.publish(&mut publisher, message(&topic, "never seen", 1)).await?;
    let connect = stage.named("s");
    let mut subscriber = stage.subscriber(connect, one(&topic, 2)).await?;
    stage.check("a clean start forgets", &vec![false], &session_present(&subscriber));
    stage.publish(&mut publisher, message(&topic, "anew", 1)).await?;
    let expected = [Message::live(&topic, "anew", 1)];
    stage
        .expect("a clean start begins anew", &mut subscriber, &expected)
        .await
}

pub(super) async fn expiry(stage: &mut Stage<'_>) -> Played {
    message_expiry(stage).await?;
    session_expiry(stage).await
}

/// A retained message is there with its remaining time, and later it is not.
async fn message_expiry(stage: &mut Stage<'_>) -> Played {
    const LIFETIME_S: u32 = 3;
    const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
    let topic = stage.topic("short-lived");
    let mut publisher = stage.publisher(stage.named("p")).await?;
    let publish = Publish {
        retain: true,
        message_expiry_interval_s: Some(LIFETIME_S),
        ..message(&topic, "short-lived", 1)
    };
    stage.publish(&mut publisher, publish).await?;
    let began = tokio::time::Instant::now();
    let mut looks = 0;
    loop {
        let connect = stage.named(&format!("look{looks}"));
        let mut looker = stage.subscriber(connect, one(&topic, 1)).await?;
        looks += 1;
        stage.publish(&mut publisher, message(&topic, "here", 1)).await?;
        let seen = looker.next_message("a look").await?;
        if seen.payload == "here" {
            break;
        }
        let left = looker.packets(|packet| match packet {
            Packet::Publish {
                message_expiry_interval,
                ..
            } => Some(*message_expiry_interval),
            _ => None,
        });
        let counts_down = left
            .first()
            .is_some_and(|left| left.is_some_and(|left| left <= LIFETIME_S));
        stage.check("the interval left", &true, &counts_down);
        if began.elapsed() > DEADLINE {
            stage.check("the message expires", &"gone", &"there");
            break;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    stage.check("it is there at first", &true, &(looks > 1));
    Ok(())
}

/// The end of a session fires the will that would have waited longer, and the session is not there afterwards.
async fn session_expiry(stage: &mut Stage<'_>) -> Played {
    let (topic, wills) = (stage.topic("t"), stage.topic("wills"));
    let mut watcher = stage.subscriber(stage.named("w"), one(&wills, 1)).await?;
    let mut connect = lasting(stage, "s");
    connect.session_expiry_interval_s = Some(1);
    connect.will = Some(Will {
        topic: wills.clone(),
        payload: "expired".into(),
        qos: 1,
        delay_s: Some(LONG_S),
        ..Will::default()
    });
    let subscriber = stage.subscriber(connect, one(&topic, 1)).await?;
    subscriber.set(Gate::Cut);
    stage
        .expect(
            "the session's end",
            &mut watcher,
            &[Message::live(&wills, "expired", 1)],
        )
        .await?;
    let connect = lasting(stage, "s");
    let subscriber = stage.resumed(connect, one(&topic, 1)).await?;
    stage.check("the session is gone", &vec![false], &session_present(&subscriber));
    Ok(())
}

fn session_present(peer: &crate::stage::Peer) -> Vec<bool> {
    peer.packets(|packet| match packet {
        Packet::ConnAck { session_present, .. } => Some(*session_present),
        _ => None,
    })
}
