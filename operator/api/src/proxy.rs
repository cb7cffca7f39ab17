//! `spec.proxy`: the stateless processes that hold the clients' connections.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pod::{Image, PodTemplateOverlay, Resources, Scheduling};
use crate::rules::duration_between;
use crate::text::DurationText;

/// The proxies of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Proxy {
    /// Proxies that serve clients. `kubectl scale` and a HorizontalPodAutoscaler write it. Default 2; 0 to 1000. Live.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: u32,
    /// Image of the proxies.
    pub image: Image,
    /// Resources of a proxy. Its number of workers is the CPU limit rounded up, or 2 without one. Default requests
    /// `{cpu: 500m, memory: 512Mi}`, limits `{cpu: "2", memory: 1Gi}`. New revision.
    pub resources: Resources,
    /// How a proxy that is to stop hands over its clients.
    pub drain: Drain,
    /// On which nodes the proxies run.
    pub scheduling: Scheduling,
    /// Laid over the pod template of the proxies, whose container is `proxy`. New revision.
    pub pod_template: PodTemplateOverlay,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            replicas: 2,
            image: Image::default(),
            resources: Resources::of(
                &[("cpu", "500m"), ("memory", "512Mi")],
                &[("cpu", "2"), ("memory", "1Gi")],
            ),
            drain: Drain::default(),
            scheduling: Scheduling::default(),
            pod_template: PodTemplateOverlay::default(),
        }
    }
}

/// How a proxy that is to stop hands over its clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Drain {
    /// The longest a proxy takes to hand over its clients; its pod is killed 30 s later. Default `300s`; from `1s` to
    /// `1h`. New revision.
    #[schemars(extend("x-kubernetes-validations" = duration_between("proxy.drain.timeout", "1s", "1h")))]
    pub timeout: DurationText,
    /// How long a proxy that was told to stop still accepts connections, until no Service sends any. Default `5s`; from
    /// `0s` to `60s`. Live.
    #[schemars(extend("x-kubernetes-validations" = duration_between("proxy.drain.linger", "0s", "60s")))]
    pub linger: DurationText,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            timeout: "300s".into(),
            linger: "5s".into(),
        }
    }
}
