//! Wills.

use crate::cannot::Feature;
use crate::message::{Connect, Will};
use crate::relay::Gate;
use crate::stage::{Message, Played, Stage, message, one};

pub(super) async fn will(stage: &mut Stage<'_>) -> Played {
    let (topic, wills) = (stage.topic("unused"), stage.topic("wills"));
    let with_will = |stage: &Stage<'_>, name: &str, payload: &str, retain| Connect {
        will: Some(Will {
            topic: wills.clone(),
            payload: payload.to_owned(),
            qos: 1,
            retain,
            delay_s: None,
        }),
        ..stage.named(name)
    };
    let mut watcher = stage.subscriber(stage.named("w"), one(&wills, 1)).await?;
    let mut publisher = stage.publisher(stage.named("p")).await?;

    let connect = with_will(stage, "lost", "lost", false);
    let lost = stage.subscriber(connect, one(&topic, 0)).await?;
    lost.set(Gate::Cut);
    stage
        .expect("a lost connection", &mut watcher, &[Message::live(&wills, "lost", 1)])
        .await?;

    let (payload, is_dropped) = if stage.can(Feature::NormalDisconnection) {
        ("never seen", true)
    } else {
        ("DISCONNECT with will", false)
    };
    let connect = with_will(stage, "leaving", payload, false);
    let leaving = stage.subscriber(connect, one(&topic, 0)).await?;
    leaving.disconnect().await?;
    stage
        .publish(&mut publisher, message(&wills, "after DISCONNECT", 1))
        .await?;
    let after = Message::live(&wills, "after DISCONNECT", 1);
    let expected = if is_dropped {
        vec![after]
    } else {
        vec![Message::live(&wills, payload, 1), after]
    };
    stage
        .expect(
            "DISCONNECT drops the will, unless it says otherwise",
            &mut watcher,
            &expected,
        )
        .await?;

    let connect = with_will(stage, "kept", "kept", true);
    let kept = stage.subscriber(connect, one(&topic, 0)).await?;
    kept.set(Gate::Cut);
    stage
        .expect(
            "a retained will, live",
            &mut watcher,
            &[Message::live(&wills, "kept", 1)],
        )
        .await?;
    let mut late = stage.subscriber(stage.named("late"), one(&wills, 1)).await?;
    stage
        .expect(
            "a retained will, later",
            &mut late,
            &[Message::retained(&wills, "kept", 1)],
        )
        .await
}
