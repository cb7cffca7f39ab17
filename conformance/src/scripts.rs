//! The scripts: each is told once, and run by every client in both versions.

mod connection;
mod delivery;
mod devices;
mod flow;
mod limits;
mod retained;
mod sessions;
mod subscriptions;
mod wills;

use futures::future::BoxFuture;

use crate::cannot::Feature;
use crate::message::Version;
use crate::stage::{Played, Stage};

/// One script.
pub(crate) struct Script {
    pub(crate) name: &'static str,
    /// What it shows, for the documentation.
    pub(crate) what: &'static str,
    pub(crate) play: for<'s, 'd> fn(&'s mut Stage<'d>) -> BoxFuture<'s, Played>,
    /// Without this the script would show nothing.
    pub(crate) needs: Option<Feature>,
    /// Why a version has no such script.
    pub(crate) not_in: Option<(Version, &'static str)>,
}

/// Makes an entry of [`SCRIPTS`].
macro_rules! script {
    ($name:literal, $what:literal, $play:path) => {
        Script {
            name: $name,
            what: $what,
            play: |stage| Box::pin($play(stage)),
            needs: None,
            not_in: None,
        }
    };
}

/// All scripts.
pub(crate) const SCRIPTS: [Script; 15] = [
    script!(
        "connect",
        "CONNECT, a message to itself, DISCONNECT",
        connection::connect
    ),
    script!(
        "qos",
        "each QoS from and to clients, all nine pairs",
        delivery::every_qos
    ),
    script!(
        "resume",
        "a session that was away receives what was queued for it, in order",
        sessions::resume
    ),
    script!(
        "takeover",
        "a second client with the same id takes over, and the first is told",
        connection::takeover
    ),
    script!(
        "will",
        "a lost connection publishes the will, also retained; DISCONNECT drops it",
        wills::will
    ),
    script!(
        "retained",
        "retained messages: at SUBSCRIBE, replaced, cleared; retain handling, retain as published",
        retained::retained
    ),
    script!(
        "shared",
        "a group receives each message once, whichever member it goes to",
        subscriptions::shared
    ),
    script!(
        "large",
        "a packet of exactly the maximum size passes, one byte more does not",
        limits::large
    ),
    Script {
        needs: Some(Feature::AliasOut),
        not_in: Some((Version::V311, "3.1.1 has no topic alias")),
        ..script!("alias", "topic aliases from and to clients", delivery::alias)
    },
    script!(
        "flow",
        "no more than the receive maximum is unacknowledged; 3.1.1: than the broker's own limit",
        flow::receive_maximum
    ),
    script!(
        "keep-alive",
        "a client that falls silent is disconnected after one and a half times its keep-alive",
        connection::keep_alive
    ),
    Script {
        not_in: Some((
            Version::V311,
            "in 3.1.1 neither messages nor sessions have an expiry interval",
        )),
        ..script!("expiry", "messages and sessions expire", sessions::expiry)
    },
    script!(
        "overlap",
        "overlapping filters give one copy, at the highest QoS and with all identifiers",
        subscriptions::overlap
    ),
    script!(
        "refusals",
        "what is not allowed is refused with the code that the specification names",
        limits::refusals
    ),
    script!(
        "topics",
        "1,000 filters in one SUBSCRIBE, and a message to each",
        subscriptions::thousand_topics
    ),
];

/// Libraries of small devices, imitated on a bare socket; whoever is at the other end plays no part.
pub(crate) const DEVICES: [Script; 2] = [
    script!(
        "esp-mqtt",
        "a PUBLISH that is sent again before it is acknowledged arrives once",
        devices::esp_mqtt
    ),
    Script {
        not_in: Some((Version::V5, "the library speaks 3.1.1 only")),
        ..script!(
            "PubSubClient",
            "a device that skips every packet above 256 bytes, and never acknowledges it, receives all others",
            devices::pub_sub_client
        )
    },
];

/// Scripts whose feature Freshet does not have yet. One that passes has to leave this list.
pub(crate) const AWAITING: &[(&str, &str)] = &[];

/// What Freshet still lacks for a script.
pub(crate) fn awaited(script: &str) -> Option<&'static str> {
    AWAITING
        .iter()
        .find(|(name, _)| *name == script)
        .map(|(_, feature)| *feature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_awaited_is_a_script() {
        for (name, _) in AWAITING {
            assert!(SCRIPTS.iter().any(|script| script.name == *name), "{name}");
        }
    }
}
