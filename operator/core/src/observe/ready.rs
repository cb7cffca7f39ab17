//! A pod that is ready, and a proxy that serves, for tests.

use super::{PodFacts, ProxyPod, Role};
use crate::loss::Loss;
use crate::requests::Requests;

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

impl ProxyPod {
    /// A proxy of a test that serves, and of which nothing else is known.
    pub(crate) fn serving(name: &str, revision: &str) -> Self {
        Self {
            pod: PodFacts::ready(name),
            revision: revision.to_owned(),
            role: Some(Role::Active),
            is_accepting: true,
            deletion_cost: None,
            requests: Requests::default(),
            resize: None,
            order: None,
            loss: Loss::default(),
        }
    }
}
