//! Where clients connect, for `status.endpoints`.

use freshet_config::{ListenerConfig, ListenerProtocol};
use freshet_operator_api as api;

use super::Observed;
use crate::names;

/// Where clients connect: inside Kubernetes always, outside as the Service's type has it.
pub fn endpoints(
    cluster: &str,
    namespace: &str,
    listeners: &[ListenerConfig],
    service_type: api::ServiceType,
    observed: &Observed,
) -> Vec<api::Endpoint> {
    let mut all = Vec::new();
    for listener in listeners {
        let scheme = match listener.protocol {
            ListenerProtocol::Mqtt => api::ListenerProtocol::Mqtt.scheme(),
            // The configuration may know more than the resource can ask for.
            _ => continue,
        };
        let mut push = |host: &str, port: u16| {
            let host = if host.contains(':') {
                format!("[{host}]")
            } else {
                host.to_owned()
            };
            all.push(api::Endpoint {
                listener: listener.name.clone(),
                address: format!("{scheme}://{host}:{port}"),
            });
        };
        push(
            &format!("{}.{namespace}.svc", names::client_service(cluster)),
            listener.port,
        );
        let Some(service) = &observed.service else { continue };
        match service_type {
            api::ServiceType::ClusterIP => {}
            api::ServiceType::NodePort => {
                let node_port = service.node_ports.iter().find(|(name, _)| *name == listener.name);
                // Any node answers; one that runs a proxy does so under either traffic policy.
                let host = observed
                    .proxies
                    .iter()
                    .filter(|p| p.is_active())
                    .filter_map(|p| p.pod.host_ip.as_deref())
                    .min();
                if let (Some((_, port)), Some(host)) = (node_port, host) {
                    push(host, *port);
                }
            }
            api::ServiceType::LoadBalancer => {
                for host in &service.ingress {
                    push(host, listener.port);
                }
            }
        }
    }
    all
}
