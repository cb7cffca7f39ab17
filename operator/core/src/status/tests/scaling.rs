//! What is said of scaling: whether it is done, and why fewer proxies serve than are asked for.

use freshet_operator_api::{ScalingMode, SignalStatus};

use super::*;

fn ceiling_of(observed: &Observed, replicas: u32) -> Option<CeilingStatus> {
    let scaling = ScalingStatus {
        desired: replicas,
        ..ScalingStatus::default()
    };
    let given = Given {
        scaling: Some(&scaling),
        ..Given::of(REVISION, observed)
    };
    let status = given.status(json!({"proxy": {"replicas": replicas}}));
    status.scaling.expect("it is looked at").ceiling
}

#[test]
fn a_quota_that_leaves_no_pod_is_the_ceiling_and_is_quoted() {
    let mut observed = settled();
    observed.deployments[0].trouble = Some(Trouble {
        reason: "FailedCreate".to_owned(),
        message: "exceeded quota: compute".to_owned(),
    });
    let ceiling = ceiling_of(&observed, 4).expect("two of four");
    assert_eq!(ceiling.active, 2);
    assert_eq!(ceiling.reason, "FailedCreate: exceeded quota: compute");
    assert_eq!(ceiling_of(&observed, 2), None);
}

#[test]
fn proxies_that_only_have_not_started_yet_are_no_ceiling() {
    assert_eq!(ceiling_of(&settled(), 4), None);
}

#[test]
fn a_cluster_that_nobody_looks_at_says_nothing_of_scaling() {
    let status = status_of(json!({}), REVISION, &settled(), None, 0);
    assert_eq!(status.scaling, None);
}

#[test]
fn scaling_is_active_where_some_load_is_known() {
    let observed = settled();
    let said_of = |scaling: Option<&ScalingStatus>| {
        let given = Given {
            scaling,
            ..Given::of(REVISION, &observed)
        };
        let status = given.status(json!({}));
        let (status, reason) = said(&status, ConditionType::ScalingActive);
        (status.to_owned(), reason.to_owned())
    };
    let with = |mode: ScalingMode, valid: bool| ScalingStatus {
        mode,
        signals: vec![SignalStatus {
            valid,
            ..SignalStatus::default()
        }],
        ..ScalingStatus::default()
    };
    let pair = |status: &str, reason: &str| (status.to_owned(), reason.to_owned());
    assert_eq!(said_of(None), pair("False", "NotLookedAt"));
    assert_eq!(said_of(Some(&with(ScalingMode::Scale, true))), pair("True", "Scales"));
    assert_eq!(
        said_of(Some(&with(ScalingMode::Observe, true))),
        pair("True", "Observes")
    );
    // It is followed for the sake of the pool alone.
    assert_eq!(
        said_of(Some(&with(ScalingMode::Off, true))),
        pair("False", "NotLookedAt")
    );
    assert_eq!(
        said_of(Some(&with(ScalingMode::Scale, false))),
        pair("False", "LoadUnknown")
    );
}
