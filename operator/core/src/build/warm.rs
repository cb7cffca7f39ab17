//! What a proxy reserves while it waits: less than an active one, with the same limits.
//!
//! Called by `proxies` for the template of a revision. With the same limits a proxy that becomes active has its threads and
//! buffers already, and only what the node holds ready for it changes. Pods are born with what an active one reserves where
//! that could not be changed later: in place, the quality-of-service class of a pod stays what it was at birth.

use std::collections::BTreeMap;

use freshet_operator_api::Warm;
use k8s_openapi::api::core::v1::{Container, PodTemplateSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::names;
use crate::requests::{RESIZABLE, amount, effective};

/// The resources of the proxy's container in a template.
pub(super) fn proxy_resources(template: &PodTemplateSpec) -> ResourceRequirements {
    let containers = template.spec.iter().flat_map(|spec| &spec.containers);
    let proxy = containers
        .into_iter()
        .find(|container| container.name == names::PROXY_CONTAINER);
    proxy.and_then(|proxy| proxy.resources.clone()).unwrap_or_default()
}

/// The requests with which pods are born whose active ones are of the template `active`.
pub(super) fn birth_requests(warm: &Warm, active: &PodTemplateSpec) -> BTreeMap<String, Quantity> {
    let resources = proxy_resources(active);
    let mut requests = resources.requests.clone().unwrap_or_default();
    if warm.reserve || is_guaranteed(active) {
        return requests;
    }
    for (resource, active) in effective(&resources) {
        let Some(asked) = warm.requests.get(&resource) else {
            continue;
        };
        let is_less = match (amount(&resource, asked), amount(&resource, &active)) {
            (Some(asked), Some(active)) => asked < active,
            _ => false,
        };
        if is_less {
            requests.insert(resource, asked.clone());
        }
    }
    requests
}

/// Whether every container has limits of CPU and memory and requests as much, which makes the pod `Guaranteed`.
fn is_guaranteed(template: &PodTemplateSpec) -> bool {
    let Some(spec) = &template.spec else { return false };
    let reserves_its_limits = |container: &Container| {
        let Some(resources) = &container.resources else {
            return false;
        };
        let requests = effective(resources);
        RESIZABLE.into_iter().all(|resource| {
            let limit = resources.limits.as_ref().and_then(|limits| limits.get(resource));
            let limit = limit.and_then(|limit| amount(resource, limit));
            let request = requests.get(resource).and_then(|request| amount(resource, request));
            limit.is_some() && limit == request
        })
    };
    spec.containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .all(reserves_its_limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn template(resources: &Value) -> PodTemplateSpec {
        let spec = json!({"spec": {"containers": [{"name": "proxy", "resources": resources}]}});
        serde_json::from_value(spec).expect("a template")
    }

    fn born(warm: Value, resources: &Value) -> Value {
        let warm: Warm = serde_json::from_value(warm).expect("a pool");
        json!(birth_requests(&warm, &template(resources)))
    }

    fn usual() -> Value {
        json!({"requests": {"cpu": "500m", "memory": "512Mi", "example.org/card": "1"}, "limits": {"cpu": "2", "memory": "1Gi"}})
    }

    #[test]
    fn a_pod_is_born_with_the_requests_of_the_pool_and_whatever_else_it_needs() {
        let born = born(json!({}), &usual());
        assert_eq!(born, json!({"cpu": "50m", "memory": "96Mi", "example.org/card": "1"}));
    }

    #[test]
    fn a_reserved_pool_has_the_requests_of_active_proxies() {
        assert_eq!(born(json!({"reserve": true}), &usual()), usual()["requests"]);
    }

    #[test]
    fn a_pod_is_never_born_with_more_than_an_active_one_has() {
        let small = json!({"requests": {"cpu": "20m", "memory": "1Gi"}, "limits": {"cpu": "1"}});
        assert_eq!(born(json!({}), &small), json!({"cpu": "20m", "memory": "96Mi"}));
    }

    #[test]
    fn a_limit_counts_where_nothing_is_requested_and_what_has_neither_is_not_requested() {
        assert_eq!(born(json!({}), &json!({"limits": {"cpu": "2"}})), json!({"cpu": "50m"}));
        assert_eq!(born(json!({}), &json!({})), json!({}));
    }

    #[test]
    fn a_resource_that_the_pool_does_not_name_is_reserved_from_birth() {
        let born = born(json!({"requests": {"cpu": "10m"}}), &usual());
        assert_eq!(born["memory"], "512Mi");
    }

    #[test]
    fn a_guaranteed_pod_is_guaranteed_from_birth() {
        let guaranteed = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m"}});
        assert_eq!(born(json!({}), &guaranteed), json!({"cpu": "1000m"}));
    }

    #[test]
    fn as_much_in_other_words_stays_as_it_was_written() {
        let resources = json!({"requests": {"cpu": "0.05", "memory": "1Gi"}});
        assert_eq!(born(json!({}), &resources), json!({"cpu": "0.05", "memory": "96Mi"}));
    }
}
