//! How much may be unacknowledged.

use crate::relay::{Gate, Packet};
use crate::stage::{Message, Played, Stage, message, one};

/// `limits.client.inflight` of the broker under test, its limit towards 3.1.1 clients.
const INFLIGHT_311: usize = 32;

/// A subscriber whose acknowledgements do not arrive is sent no more than it may have; all comes once they do.
pub(super) async fn receive_maximum(stage: &mut Stage<'_>) -> Played {
    let topic = stage.topic("t");
    let mut connect = stage.named("s");
    let (allowed, count) = if stage.is_v5() {
        connect.receive_maximum = Some(1);
        (1, 4)
    } else {
        (INFLIGHT_311, INFLIGHT_311 + 3)
    };
    let mut subscriber = stage.subscriber(connect, one(&topic, 1)).await?;
    let mut publisher = stage.publisher(stage.named("p")).await?;
    subscriber.set(Gate::HoldClient);
    let payloads: Vec<String> = (0..count).map(|n| format!("message {n}")).collect();
    for payload in &payloads {
        stage.publish(&mut publisher, message(&topic, payload, 1)).await?;
    }
    // QoS 0 needs no room, and comes after everything that was allowed to leave before it.
    stage.publish(&mut publisher, message(&topic, "beside", 0)).await?;
    let live = |payload: &String| Message::live(&topic, payload, 1);
    let mut first: Vec<Message> = payloads[..allowed].iter().map(live).collect();
    first.push(Message::live(&topic, "beside", 0));
    stage
        .expect("as many as allowed, and QoS 0", &mut subscriber, &first)
        .await?;
    let sent = subscriber.packets(|packet| match packet {
        Packet::Publish { qos, .. } => (*qos > 0).then_some(()),
        _ => None,
    });
    stage.check("unacknowledged", &allowed, &sent.len());
    subscriber.set(Gate::Open);
    let rest: Vec<Message> = payloads[allowed..].iter().map(live).collect();
    stage.expect("the rest, in order", &mut subscriber, &rest).await
}
