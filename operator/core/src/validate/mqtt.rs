//! `spec.mqtt`, and the bounds of clients and of what waits for sessions.

use std::time::Duration;

use freshet_config::{ClientLimits, MqttConfig, QueueLimits, SharedStrategy, SlowConsumer};
use freshet_operator_api as api;

use super::{Check, millis};

pub(super) fn mqtt_of(spec: &api::MqttClusterSpec, check: &mut Check) -> MqttConfig {
    let mqtt = &spec.mqtt;
    let mut seconds = |field: &str, text: &api::DurationText| {
        let duration = check.duration(field, text);
        check.fits(field, whole_seconds(duration))
    };
    let session_expiry_311_s = seconds("spec.mqtt.sessionExpiry311", &mqtt.session_expiry_311);
    let max_session_expiry_s = seconds("spec.limits.cluster.sessionExpiry", &spec.limits.cluster.session_expiry);
    MqttConfig {
        publish_hold_ms: millis(check.duration("spec.mqtt.publishHold", &mqtt.publish_hold)),
        max_qos: mqtt.max_qos,
        receive_maximum: mqtt.receive_maximum,
        topic_alias_maximum: mqtt.topic_alias_maximum,
        max_topic_levels: mqtt.max_topic_levels,
        max_topic_bytes: mqtt.max_topic_bytes,
        max_client_id_bytes: mqtt.max_client_id_bytes,
        session_expiry_311_s,
        max_session_expiry_s,
        shared_strategy: match mqtt.shared_strategy {
            api::SharedStrategy::RoundRobin => SharedStrategy::RoundRobin,
            api::SharedStrategy::LeastInflight => SharedStrategy::LeastInflight,
        },
        slow_consumer: match mqtt.slow_consumer {
            api::SlowConsumer::DropOldest => SlowConsumer::DropOldest,
            api::SlowConsumer::Disconnect => SlowConsumer::Disconnect,
        },
    }
}

pub(super) fn queue_limits_of(limits: &api::SessionLimits, check: &mut Check) -> QueueLimits {
    let section = "spec.limits.session";
    QueueLimits {
        messages: limits.queued_messages,
        bytes: check.size(&format!("{section}.queuedBytes"), &limits.queued_bytes),
        age_ms: millis(check.duration(&format!("{section}.queuedAge"), &limits.queued_age)),
    }
}

pub(super) fn client_limits_of(limits: &api::ClientLimits, check: &mut Check) -> ClientLimits {
    let section = "spec.limits.client";
    let max_packet = check.size(&format!("{section}.maxPacket"), &limits.max_packet);
    let outbound_buffer = check.size(&format!("{section}.outboundBuffer"), &limits.outbound_buffer);
    let max_keep_alive = check.duration(&format!("{section}.maxKeepAlive"), &limits.max_keep_alive);
    ClientLimits {
        inflight: limits.inflight,
        subscriptions: limits.subscriptions,
        max_packet_bytes: check.fits(&format!("{section}.maxPacket"), max_packet),
        max_keep_alive_s: check.fits(&format!("{section}.maxKeepAlive"), whole_seconds(max_keep_alive)),
        outbound_buffer_bytes: check.fits(&format!("{section}.outboundBuffer"), outbound_buffer),
    }
}

/// Seconds, rounded up: half a second of keep-alive is not none.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
