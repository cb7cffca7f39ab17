//! What is said of active proxies that have not reserved what they should.

use super::*;

const FULL: Requests = Requests {
    cpu_millis: 500,
    memory_bytes: 0,
};

fn status_of_full(observed: &Observed, refused: &RefusedResizes) -> MqttClusterStatus {
    let given = Given {
        active_requests: FULL,
        refused_resizes: refused.clone(),
        ..Given::of(REVISION, observed)
    };
    given.status(json!({}))
}

fn message(status: &MqttClusterStatus) -> &str {
    let of = |c: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| c.type_ == "ResizeDeferred";
    &status.conditions.iter().find(of).expect("it is there").message
}

#[test]
fn a_full_node_is_named_with_what_the_kubelet_says_while_the_proxy_serves() {
    let mut observed = settled();
    observed.proxies[0].requests = FULL;
    observed.proxies[1].requests = FULL;
    observed.proxies[1].pod.node = Some("n2".to_owned());
    observed.proxies[1].resize = Some(Trouble {
        reason: "Deferred".to_owned(),
        message: "Node didn't have enough resource: cpu".to_owned(),
    });
    let status = status_of_full(&observed, &RefusedResizes::new());
    assert_eq!(said(&status, ConditionType::ResizeDeferred), ("True", "NodeFull"));
    assert_eq!(
        message(&status),
        "p2 on n2 serves without its reservation: Node didn't have enough resource: cpu"
    );
    assert_eq!(said(&status, ConditionType::Ready), ("True", "AllServing"));
}

#[test]
fn what_the_api_server_refuses_is_quoted_until_the_proxy_has_what_it_should() {
    let mut observed = settled();
    let refused = RefusedResizes::from([
        ("uid-p1".to_owned(), "exceeded quota: compute".to_owned()),
        ("uid-p2".to_owned(), "exceeded quota: compute".to_owned()),
    ]);
    let status = status_of_full(&observed, &refused);
    assert_eq!(said(&status, ConditionType::ResizeDeferred), ("True", "Refused"));
    let quoted = message(&status);
    assert!(
        quoted.contains("exceeded quota: compute") && quoted.contains("and 1 more"),
        "{quoted}"
    );
    for proxy in &mut observed.proxies {
        proxy.requests = FULL;
    }
    let status = status_of_full(&observed, &refused);
    assert_eq!(said(&status, ConditionType::ResizeDeferred), ("False", "Reserved"));
}

#[test]
fn proxies_that_wait_are_counted_apart_and_a_pool_that_is_short_hinders_nothing() {
    let mut observed = settled();
    observed.deployments = vec![deployment(REVISION, 3)];
    let short = status_of(json!({}), REVISION, &observed, None, 0);
    assert_eq!(said(&short, ConditionType::Progressing), ("False", "Complete"));
    let mut waits = active("p3", REVISION);
    (waits.role, waits.is_accepting) = (Some(Role::Warm), false);
    observed.proxies.push(waits);
    let status = status_of(json!({}), REVISION, &observed, None, 0);
    assert_eq!(
        (
            status.proxy.active,
            status.proxy.ready,
            status.proxy.warm,
            status.proxy.promotable
        ),
        (2, 3, 1, 1)
    );
    assert_eq!(said(&status, ConditionType::Ready), ("True", "AllServing"));
    // One that waits and cannot run is named, and the others serve on.
    observed.proxies[2].pod.is_ready = false;
    observed.proxies[2].pod.trouble = Some(Trouble {
        reason: "Unschedulable".to_owned(),
        message: "Insufficient cpu".to_owned(),
    });
    let status = status_of(json!({}), REVISION, &observed, None, 0);
    assert_eq!(said(&status, ConditionType::Degraded), ("True", "Unschedulable"));
    assert_eq!(said(&status, ConditionType::Ready), ("True", "AllServing"));
    assert_eq!((status.proxy.warm, status.proxy.promotable), (0, 0));
}
