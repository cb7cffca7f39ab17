//! A pod that is ready, for tests.

use super::PodFacts;

impl PodFacts {
    /// A pod of a test that is ready, and of which nothing else is known.
    pub(crate) fn ready(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            uid: name.to_owned(),
            resource_version: "1".to_owned(),
            node: None,
            host_ip: None,
            ip: None,
            is_ready: true,
            is_deleting: false,
            restarts: 0,
            last_end: None,
            config_hash: None,
            created_s: 0,
            trouble: None,
        }
    }
}
