//! How many connections a proxy may have: its process's limit of open files against `maxConnections` of the listeners.
//!
//! A proxy lowers `maxConnections` to what its process may open, and says so in its metrics. [`read_limit`] finds that in
//! what it says; `status` makes a condition of it. Who is asked, and when, is the reconciler's business.

use std::collections::BTreeMap;

use freshet_config::ListenerConfig;

use crate::observe::Observed;

/// Connections that the processes of proxies may have, by the UID of the pod.
pub type ConnectionLimits = BTreeMap<String, u32>;

/// Finds the limit in the metrics of a proxy; `None` when they are not a proxy's.
pub fn read_limit(metrics: &str) -> Option<u32> {
    metrics
        .lines()
        .find_map(|line| line.strip_prefix("freshet_proxy_connections_limit "))?
        .trim()
        .parse()
        .ok()
}

/// What the cluster's proxies may have, against what its listeners are to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No proxy has said yet.
    Unknown,
    /// Every proxy that has said may have as many as the listeners take.
    Enough,
    /// The text names the listeners, and the proxy that may have least.
    Limited(String),
}

/// Compares the limits of proxies that are there with the listeners.
pub(crate) fn judge(observed: &Observed, limits: &ConnectionLimits, listeners: &[ListenerConfig]) -> Verdict {
    let of_proxies = observed.proxies.iter().map(|proxy| &proxy.pod);
    let known = of_proxies
        .filter(|pod| !pod.is_deleting)
        .filter_map(|pod| Some((*limits.get(&pod.uid)?, pod.node.as_deref().unwrap_or("an unknown node"))));
    let Some((limit, node)) = known.min() else {
        return Verdict::Unknown;
    };
    let lowered: Vec<String> = listeners
        .iter()
        .filter(|listener| listener.max_connections > limit)
        .map(|listener| format!("{} ({})", listener.name, listener.max_connections))
        .collect();
    if lowered.is_empty() {
        return Verdict::Enough;
    }
    Verdict::Limited(format!(
        "a proxy on {node} may have {limit} connections, by its limit of open files, which is less than maxConnections of \
         {}: raise that limit in the node's container runtime, or lower maxConnections",
        lowered.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_found_among_the_metrics_and_nothing_is_made_of_other_text() {
        let metrics = "# TYPE freshet_proxy_connections_limit gauge\n\
                       freshet_proxy_listener_connections_limit{listener=\"mqtt\"} 7\n\
                       freshet_proxy_connections_limit 17952\n# EOF\n";
        assert_eq!(read_limit(metrics), Some(17_952));
        for other in [
            "",
            "freshet_proxy_connections_limit",
            "freshet_proxy_connections_limit -1\n",
            "<html>",
        ] {
            assert_eq!(read_limit(other), None, "{other}");
        }
    }
}
