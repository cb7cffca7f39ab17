//! Minutes of clients that say anything, over real sockets: afterwards the broker is as it was.
//!
//! How long: `FRESHET_NOISE_SECONDS`, else a few seconds. The first part of the time makes whatever is made once and
//! kept; what is there at rest behind it is what must be there at the end.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../standalone/broker.rs"]
#[allow(dead_code, reason = "this test says less than those of the command line")]
mod broker;
#[path = "../../../proxy/tests/broker/client.rs"]
#[allow(dead_code, reason = "this test says less than the proxy's")]
mod client;
#[path = "../../../proxy/tests/broker/http.rs"]
#[allow(dead_code, reason = "this test asks less than the proxy's")]
mod http;

mod crowd;
mod rest;

use std::time::Duration;

use broker::Broker;
use crowd::Crowd;
use rest::Rest;

const SECONDS_UNLESS_SAID: u64 = 20;

/// Sessions expire, and limits are reached, within the time of a test.
const MANIFEST: &str = r#"
apiVersion: freshet.dev/v1alpha1
kind: MqttCluster
metadata: {name: noise}
spec:
  observability: {logLevel: warn}
  mqtt: {sessionExpiry311: 3s}
  limits:
    client: {subscriptions: 6, maxPacket: 16Ki, outboundBuffer: 64Ki}
    session: {queuedMessages: 50}
    cluster: {sessions: 1000, sessionExpiry: 3s, retainedMessages: 20}
"#;

fn time_of_noise() -> Duration {
    let said = std::env::var("FRESHET_NOISE_SECONDS").ok();
    let seconds = said.map_or(SECONDS_UNLESS_SAID, |text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds)
}

#[test]
fn after_minutes_of_noise_the_broker_is_as_it_was() {
    let manifest = std::env::temp_dir().join(format!("freshet-noise-{}.yaml", std::process::id()));
    std::fs::write(&manifest, MANIFEST).unwrap();
    let broker = Broker::start(&["--workers", "2", "--config", manifest.to_str().unwrap()]);
    std::fs::remove_file(&manifest).unwrap();
    let time = time_of_noise();

    let mut crowd = Crowd::new(broker.mqtt);
    crowd.make_noise(time / 4);
    let before = Rest::of(&broker);
    println!("before: {before:?}");
    crowd.make_noise(time - time / 4);
    let after = Rest::of(&broker);
    println!("after: {after:?}; clients heard {:?}", crowd.heard());

    crowd.has_been_served();
    after.is_as(&before);
}
