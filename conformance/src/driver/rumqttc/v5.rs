//! MQTT 5.0 with `rumqttc`.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{
    Filter, LastWill, LastWillProperties, Packet, PubRecReason, PublishProperties, RetainForwardRule,
    SubscribeProperties,
};
use rumqttc::v5::mqttbytes::{QoS, qos};
use rumqttc::v5::{AsyncClient, EventLoop, MqttOptions};

use super::{LOOPBACK, MAX_PACKET_BYTES, Tags};
use crate::history::History;
use crate::message::{self, Command, Connect, Event, Publish, Received, Subscribe, told_payload};

pub(super) fn options(connect: &Connect) -> anyhow::Result<MqttOptions> {
    let mut options = MqttOptions::new(&connect.client_id, LOOPBACK, connect.port);
    options
        .set_clean_start(connect.clean)
        .set_keep_alive(Duration::from_secs(connect.keep_alive_s.into()))
        .set_session_expiry_interval(connect.session_expiry_interval_s)
        .set_receive_maximum(connect.receive_maximum)
        .set_topic_alias_max(connect.topic_alias_maximum)
        .set_authentication_method(connect.authentication_method.clone())
        .set_max_packet_size(Some(MAX_PACKET_BYTES));
    if let Some(will) = &connect.will {
        let properties = will.delay_s.map(|delay_s| LastWillProperties {
            delay_interval: Some(delay_s),
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: None,
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
        });
        let payload = will.payload.as_bytes();
        options.set_last_will(LastWill::new(
            &will.topic,
            payload,
            known(will.qos)?,
            will.retain,
            properties,
        ));
    }
    Ok(options)
}

/// `aliases` are those that this client has used.
pub(super) async fn obey(client: &AsyncClient, aliases: &mut BTreeSet<u16>, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Subscribe(subscribe) => send_subscribe(client, &subscribe).await?,
        Command::Unsubscribe { topic_filters } => {
            for filter in topic_filters {
                client.unsubscribe(filter).await?;
            }
        }
        Command::Publish(publish) => {
            let qos = known(publish.qos)?;
            let properties = publish_properties(&publish);
            // Topic aliases are left to the library's user: the name goes with the first use.
            let defined = publish.topic_alias.is_some_and(|alias| !aliases.insert(alias));
            let topic = if defined { String::new() } else { publish.topic };
            client
                .publish_with_properties(topic, qos, publish.retain, publish.payload, properties)
                .await?;
        }
        Command::Disconnect => client.disconnect().await?,
        Command::Connect(_) | Command::Forget => {}
    }
    Ok(())
}

async fn send_subscribe(client: &AsyncClient, subscribe: &Subscribe) -> anyhow::Result<()> {
    let filters: anyhow::Result<Vec<Filter>> = subscribe.filters.iter().map(filter).collect();
    match subscribe.identifier {
        Some(identifier) => {
            let properties = SubscribeProperties {
                id: Some(usize::try_from(identifier)?),
                user_properties: Vec::new(),
            };
            client.subscribe_many_with_properties(filters?, properties).await?;
        }
        None => client.subscribe_many(filters?).await?,
    }
    Ok(())
}

fn filter(filter: &message::Filter) -> anyhow::Result<Filter> {
    Ok(Filter {
        path: filter.topic_filter.clone(),
        qos: known(filter.qos)?,
        nolocal: false,
        preserve_retain: filter.retain_as_published,
        retain_forward_rule: match filter.retain_handling {
            0 => RetainForwardRule::OnEverySubscribe,
            1 => RetainForwardRule::OnNewSubscribe,
            _ => RetainForwardRule::Never,
        },
    })
}

fn publish_properties(publish: &Publish) -> PublishProperties {
    PublishProperties {
        message_expiry_interval: publish.message_expiry_interval_s,
        topic_alias: publish.topic_alias,
        user_properties: publish.user_properties.clone().into_iter().collect(),
        ..PublishProperties::default()
    }
}

fn known(number: u8) -> anyhow::Result<QoS> {
    qos(number).context("there is no such QoS")
}

/// Turns the event loop until the connection ends; another turn would connect again.
pub(super) async fn turn(mut event_loop: EventLoop, tags: Tags, events: History<Event>) {
    loop {
        match event_loop.poll().await {
            Ok(rumqttc::v5::Event::Incoming(packet)) => tell(packet, &tags, &events),
            Ok(rumqttc::v5::Event::Outgoing(Outgoing::Publish(packet_id))) => tags.sent(packet_id, &events),
            Ok(rumqttc::v5::Event::Outgoing(_)) => {}
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
        Packet::PubRec(packet) if is_refusal(packet.reason) => tags.answered(packet.pkid, events),
        Packet::Publish(packet) => events.add(Event::Message(Received {
            topic: String::from_utf8_lossy(&packet.topic).into_owned(),
            qos: packet.qos as u8,
            retain: packet.retain,
            payload: told_payload(&packet.payload),
        })),
        _ => {}
    }
}

fn is_refusal(reason: PubRecReason) -> bool {
    !matches!(reason, PubRecReason::Success | PubRecReason::NoMatchingSubscribers)
}
