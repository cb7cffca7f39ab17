//! Sessions that outlive their connection, through the Service of a cluster of two proxies.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use freshet_e2e::mosquitto::{Subscriber, publish};
use serde_json::json;

use crate::broker::{Broker, DEADLINE, MESSAGE_DEADLINE, with_broker};

/// Messages of one absence.
const MESSAGES: usize = 6;

/// Leaves and comes back until that was through another proxy; everything that was sent in between has to be there.
async fn be_away(broker: &Broker<'_>, subscribe: &[&str]) -> Result<()> {
    let address = broker.address().await?;
    let mut subscriber = Subscriber::start(address, subscribe, MESSAGE_DEADLINE).await?;
    let until = Instant::now() + DEADLINE;
    for absence in 0.. {
        let former = broker.await_holder().await?;
        drop(subscriber);
        broker.await_no_connection().await?;
        let sent: Vec<String> = (0..MESSAGES).map(|number| format!("{absence}.{number}")).collect();
        for (message, qos) in sent.iter().zip(["1", "2"].iter().cycle()) {
            publish(address, &["-t", "dev/one", "-q", qos, "-m", message]).await?;
        }
        // Nobody keeps this one.
        publish(address, &["-t", "dev/one", "-q", "0", "-m", "gone"]).await?;
        subscriber = Subscriber::start(address, subscribe, MESSAGE_DEADLINE).await?;
        for (message, qos) in sent.iter().zip([1, 2].iter().cycle()) {
            let received = subscriber
                .next(MESSAGE_DEADLINE)
                .await
                .with_context(|| message.clone())?;
            ensure!(
                (&received.payload, received.qos) == (message, *qos),
                "{message}: {received:?}"
            );
        }
        if broker.await_holder().await? != former {
            break;
        }
        ensure!(Instant::now() < until, "every connection was dealt to {former}");
    }
    // The session goes on live from where the queue ended.
    publish(address, &["-t", "dev/one", "-q", "1", "-m", "live"]).await?;
    let received = subscriber.next(MESSAGE_DEADLINE).await?;
    ensure!(received.payload == "live", "{received:?}");
    drop(subscriber);
    broker.await_no_connection().await
}

#[tokio::test]
#[cfg_attr(false, shows("3.1.1:3.1.2-5", "5.0:4.1.0-1"))]
async fn what_is_sent_in_an_absence_is_there_whichever_proxy_the_client_comes_back_to() -> Result<()> {
    with_broker("absence", json!({}), async |broker| {
        be_away(broker, &["-V", "mqttv311", "-i", "old", "-c", "-q", "2", "-t", "dev/+"]).await?;
        be_away(
            broker,
            &[
                "-V", "mqttv5", "-i", "new", "-c", "-x", "3600", "-q", "2", "-t", "dev/+",
            ],
        )
        .await
    })
    .await
}
