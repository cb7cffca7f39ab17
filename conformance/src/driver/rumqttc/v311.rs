//! MQTT 3.1.1 with `rumqttc`.

use std::time::Duration;

use rumqttc::{AsyncClient, EventLoop, LastWill, MqttOptions, Outgoing, Packet, SubscribeFilter, qos};

use super::{LOOPBACK, MAX_PACKET_BYTES, Tags};
use crate::history::History;
use crate::message::{Command, Connect, Event, Received, told_payload};

pub(super) fn options(connect: &Connect) -> anyhow::Result<MqttOptions> {
    let mut options = MqttOptions::new(&connect.client_id, LOOPBACK, connect.port);
    let max_packet_bytes = usize::try_from(MAX_PACKET_BYTES)?;
    options
        .set_clean_session(connect.clean)
        .set_keep_alive(Duration::from_secs(connect.keep_alive_s.into()))
        .set_max_packet_size(max_packet_bytes, max_packet_bytes);
    if let Some(will) = &connect.will {
        let payload = will.payload.as_bytes();
        options.set_last_will(LastWill::new(&will.topic, payload, qos(will.qos)?, will.retain));
    }
    Ok(options)
}

pub(super) async fn obey(client: &AsyncClient, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Subscribe(subscribe) => {
            let filters: anyhow::Result<Vec<_>> = subscribe
                .filters
                .into_iter()
                .map(|filter| Ok(SubscribeFilter::new(filter.topic_filter, qos(filter.qos)?)))
                .collect();
            client.subscribe_many(filters?).await?;
        }
        Command::Unsubscribe { topic_filters } => {
            for filter in topic_filters {
                client.unsubscribe(filter).await?;
            }
        }
        Command::Publish(publish) => {
            let qos = qos(publish.qos)?;
            client
                .publish(publish.topic, qos, publish.retain, publish.payload)
                .await?;
        }
        Command::Disconnect => client.disconnect().await?,
        Command::Connect(_) | Command::Forget => {}
    }
    Ok(())
}

/// Turns the event loop until the connection ends; another turn would connect again.
pub(super) async fn turn(mut event_loop: EventLoop, tags: Tags, events: History<Event>) {
    loop {
        match event_loop.poll().await {
            Ok(rumqttc::Event::Incoming(packet)) => tell(packet, &tags, &events),
            Ok(rumqttc::Event::Outgoing(Outgoing::Publish(packet_id))) => tags.sent(packet_id, &events),
            Ok(rumqttc::Event::Outgoing(_)) => {}
            Err(error) => {
                events.add(Event::Closed { why: error.to_string() });
                return;
            }
        }
    }
}

fn tell(packet: Packet, tags: &Tags, events: &History<Event>) {
    match packet {
        Packet::ConnAck(packet) => events.add(Event::Connected {
            session_present: Some(packet.session_present),
        }),
        Packet::SubAck(_) => events.add(Event::Subscribed),
        Packet::UnsubAck(_) => events.add(Event::Unsubscribed),
        Packet::PubAck(packet) => tags.answered(packet.pkid, events),
        Packet::PubComp(packet) => tags.answered(packet.pkid, events),
        Packet::Publish(packet) => events.add(Event::Message(Received {
            topic: packet.topic,
            qos: packet.qos as u8,
            retain: packet.retain,
            payload: told_payload(&packet.payload),
        })),
        _ => {}
    }
}
