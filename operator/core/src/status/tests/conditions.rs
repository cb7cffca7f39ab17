//! What conditions say, and what they are judged by.

use super::*;

fn message(status: &MqttClusterStatus, type_: ConditionType) -> &str {
    let mut conditions = status.conditions.iter();
    let condition = conditions.find(|condition| condition.type_ == type_.as_str());
    &condition.expect("every type is there").message
}

fn trouble(reason: &str, message: &str) -> Option<Trouble> {
    Some(Trouble {
        reason: reason.to_owned(),
        message: message.to_owned(),
    })
}

#[test]
fn a_limit_of_open_files_below_max_connections_is_told_with_the_node_and_the_listener() {
    let spec = || json!({"listeners": [{"name": "mqtt", "port": 1883, "maxConnections": 1000}]});
    let mut there = settled();
    there.proxies[1].pod.node = Some("n2".to_owned());
    let status = |limits: &[(&str, u32)], previous: Option<&MqttClusterStatus>| {
        let connection_limits = limits
            .iter()
            .map(|(name, limit)| (format!("uid-{name}"), *limit))
            .collect();
        let given = Given {
            connection_limits,
            previous,
            at: 1,
            ..Given::of(REVISION, &there)
        };
        given.status(spec())
    };
    let limited = ConditionType::ConnectionsLimited;
    assert_eq!(said(&status(&[], None), limited), ("False", "NotKnown"));
    assert_eq!(said(&status(&[("p1", 1000)], None), limited), ("False", "Enough"));
    let found = status(&[("p1", 5000), ("p2", 999)], None);
    assert_eq!(said(&found, limited), ("True", "FileLimit"));
    let condition = found
        .conditions
        .iter()
        .find(|c| c.type_ == limited.as_str())
        .expect("it is there");
    for part in ["n2", "999", "mqtt (1000)"] {
        assert!(condition.message.contains(part), "{}", condition.message);
    }
    // An operator that has just started has asked nobody yet: what was found before holds.
    assert_eq!(said(&status(&[], Some(&found)), limited), ("True", "FileLimit"));
    assert_eq!(
        said(&found, ConditionType::Ready).0,
        "True",
        "clients are served all the same"
    );
}

#[test]
fn conditions_say_how_many_of_how_many() {
    let status = status_of(json!({}), REVISION, &settled(), None, 0);
    assert_eq!(
        message(&status, ConditionType::Ready),
        "2 of 2 proxies active, 1 of 1 storage nodes ready"
    );
    assert_eq!(
        message(&status, ConditionType::ProxiesAvailable),
        "2 of 2 proxies active"
    );
    assert_eq!(said(&status, ConditionType::StorageAvailable), ("True", "AllReady"));
}

#[test]
fn without_a_proxy_it_counts_whether_one_is_asked_for() {
    let mut observed = settled();
    observed.proxies.clear();
    let available = |replicas: u32| {
        let status = status_of(json!({"proxy": {"replicas": replicas}}), REVISION, &observed, None, 0);
        let (holds, reason) = said(&status, ConditionType::ProxiesAvailable);
        (holds.to_owned(), reason.to_owned())
    };
    assert_eq!(available(0), ("False".to_owned(), "ScaledToZero".to_owned()));
    assert_eq!(available(2), ("False".to_owned(), "NoneActive".to_owned()));
}

#[test]
fn storage_of_which_nothing_is_known_is_not_available() {
    let status = blocked("InvalidSpec", "spec.proxy: wrong", &Observed::default(), None);
    assert_eq!(said(&status, ConditionType::StorageAvailable), ("False", "NotReady"));
}

#[test]
fn of_several_troubles_the_one_is_told_that_needs_somebody() {
    let mut observed = settled();
    observed.proxies[0].pod.trouble = trouble("Unschedulable", "Insufficient cpu");
    observed.storage_pods[0].pod.trouble = trouble("ImagePullBackOff", "no such image");
    let status = status_of(json!({}), REVISION, &observed, None, 0);
    assert_eq!(said(&status, ConditionType::Degraded), ("True", "ImagePullBackOff"));
    assert_eq!(
        message(&status, ConditionType::Degraded),
        "pod prod-storage-0: no such image"
    );
}

#[test]
fn what_was_complete_is_so_only_for_its_own_generation_and_if_it_was_carried_out() {
    let mut observed = settled();
    observed.proxies[0].pod.is_ready = false;
    let progressing = |previous: &MqttClusterStatus| {
        let status = status_of(json!({}), REVISION, &observed, Some(previous), 10);
        let (holds, reason) = said(&status, ConditionType::Progressing);
        (holds.to_owned(), reason.to_owned())
    };
    let complete = status_of(json!({}), REVISION, &settled(), None, 0);
    assert_eq!(progressing(&complete), ("False".to_owned(), "Complete".to_owned()));
    let comes_up = ("True".to_owned(), "ComingUp".to_owned());
    let mut of_another = complete.clone();
    for condition in &mut of_another.conditions {
        condition.observed_generation = Some(0);
    }
    assert_eq!(progressing(&of_another), comes_up);
    let paused = status_of(json!({"paused": true}), REVISION, &settled(), None, 0);
    assert_eq!(progressing(&paused), comes_up);
    let mut other_target = complete;
    other_target.proxy.revision.target = "r0".to_owned();
    assert_eq!(progressing(&other_target), comes_up);
}

#[test]
fn a_cluster_that_serves_is_not_degraded_for_a_controller_that_is_late() {
    let before = status_of(json!({}), REVISION, &settled(), None, 0);
    let mut observed = settled();
    if let Some(set) = &mut observed.storage_set {
        set.update_revision = None;
    }
    let status = status_of(json!({}), REVISION, &observed, Some(&before), 10);
    assert_eq!(said(&status, ConditionType::Progressing), ("False", "Complete"));
    assert_eq!(said(&status, ConditionType::Degraded), ("False", "AsAsked"));
}

#[test]
fn who_is_stalled_hears_what_to_do() {
    let message = |reason: &str| {
        let mut observed = settled();
        let mut stuck = active("q1", "r2");
        (stuck.role, stuck.is_accepting, stuck.pod.is_ready) = (None, false, false);
        stuck.pod.trouble = trouble(reason, "it does not start");
        observed.proxies.push(stuck);
        observed.deployments.push(deployment("r2", 2));
        let status = status_of(json!({}), "r2", &observed, None, 0);
        message(&status, ConditionType::Stalled).to_owned()
    };
    for (reason, what) in [
        ("CrashLoopBackOff", "see the pod's log, then change the image"),
        ("RunContainerError", "see the pod's log, then change the image"),
        (
            "CreateContainerConfigError",
            "put right what the pod template refers to",
        ),
        ("CreateContainerError", "put right what the pod template refers to"),
        ("ImagePullBackOff", "put right the image or spec.imagePullSecrets"),
    ] {
        let expected = format!("pod q1: it does not start; {what}");
        assert!(message(reason).starts_with(&expected), "{}", message(reason));
    }
}

#[test]
fn what_keeps_the_number_of_proxies_down_is_told_of_pods_that_stay() {
    let ceiling = |is_deleting: bool| {
        let mut observed = settled();
        let pod = &mut observed.proxies[1].pod;
        (pod.is_ready, pod.is_deleting) = (false, is_deleting);
        pod.trouble = trouble("Unschedulable", "Insufficient cpu");
        let scaling = ScalingStatus::default();
        let given = Given {
            scaling: Some(&scaling),
            ..Given::of(REVISION, &observed)
        };
        let status = given.status(json!({}));
        status.scaling.and_then(|scaling| scaling.ceiling)
    };
    let expected = CeilingStatus {
        active: 1,
        reason: "Unschedulable: Insufficient cpu".to_owned(),
    };
    assert_eq!(ceiling(false), Some(expected));
    assert_eq!(ceiling(true), None);
}

#[test]
fn memory_has_a_beginning_that_stays() {
    let spec = || json!({"storage": {"volume": {"medium": "Memory"}}});
    let first = status_of(spec(), REVISION, &settled(), None, 7);
    let since = |status: &MqttClusterStatus| {
        let volume = status.storage.volume.as_ref().expect("a medium");
        volume.since.as_ref().map(|since| since.0.as_second())
    };
    assert_eq!(since(&first), Some(7));
    assert_eq!(
        since(&status_of(spec(), REVISION, &settled(), Some(&first), 90)),
        Some(7)
    );
}
