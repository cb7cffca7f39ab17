//! The three Services of a cluster.

use freshet_operator_api::ServiceType;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::labels;
use crate::names;
use crate::validate::ValidatedCluster;

/// What clients use: the proxies that accept, on the ports of the listeners.
pub(super) fn clients(cluster: &ValidatedCluster) -> Service {
    let asked = &cluster.service;
    let mut meta = metadata(
        cluster,
        names::client_service(&cluster.name),
        labels::of_component(&cluster.name, labels::PROXY),
    );
    meta.annotations = Some(asked.annotations.clone()).filter(|annotations| !annotations.is_empty());
    let is_external = asked.type_ != ServiceType::ClusterIP;
    let is_balanced = asked.type_ == ServiceType::LoadBalancer;
    Service {
        metadata: meta,
        spec: Some(ServiceSpec {
            type_: Some(asked.type_.as_str().to_owned()),
            selector: Some(labels::accepting_selector(&cluster.name)),
            ports: Some(listener_ports(cluster)),
            ip_family_policy: Some(asked.ip_family_policy.as_str().to_owned()),
            external_traffic_policy: is_external.then(|| asked.external_traffic_policy.as_str().to_owned()),
            load_balancer_class: Some(asked.load_balancer_class.clone())
                .filter(|class| is_balanced && !class.is_empty()),
            load_balancer_source_ranges: Some(asked.load_balancer_source_ranges.clone())
                .filter(|ranges| is_balanced && !ranges.is_empty()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// All proxies, whatever their role, on the same ports. Nobody is meant to use it: it keeps every backend known to
/// dataplanes that cut the established flows of a backend that no Service has any more.
pub(super) fn all_proxies(cluster: &ValidatedCluster) -> Service {
    Service {
        metadata: metadata(
            cluster,
            names::all_proxies_service(&cluster.name),
            labels::of_component(&cluster.name, labels::PROXY),
        ),
        spec: Some(ServiceSpec {
            type_: Some(ServiceType::ClusterIP.as_str().to_owned()),
            selector: Some(labels::component_selector(&cluster.name, labels::PROXY)),
            ports: Some(listener_ports(cluster)),
            ip_family_policy: Some(cluster.service.ip_family_policy.as_str().to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The DNS names of the storage nodes, ready or not: nodes that start must find each other.
pub(super) fn storage(cluster: &ValidatedCluster) -> Service {
    Service {
        metadata: metadata(
            cluster,
            names::storage_service(&cluster.name),
            labels::of_component(&cluster.name, labels::STORAGE),
        ),
        spec: Some(ServiceSpec {
            type_: Some(ServiceType::ClusterIP.as_str().to_owned()),
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(labels::component_selector(&cluster.name, labels::STORAGE)),
            ports: Some(vec![tcp_port("storage", names::STORAGE_PORT)]),
            ip_family_policy: Some(cluster.service.ip_family_policy.as_str().to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn listener_ports(cluster: &ValidatedCluster) -> Vec<ServicePort> {
    cluster
        .listeners
        .iter()
        .map(|listener| tcp_port(&listener.name, listener.port))
        .collect()
}

fn tcp_port(name: &str, port: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(port),
        target_port: Some(IntOrString::Int(i32::from(port))),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}
