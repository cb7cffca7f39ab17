//! How links begin, and how they do not.

use bytes::Bytes;
use freshet_storage_api::{ConnectError, LinkError};
use freshet_storage_contract::{AttachProxy, AttachRefusal, ClusterUid, PROTOCOL_VERSION};

use crate::{
    raw::{self, RawStream},
    test_node::{CLUSTER_UID, TestNode, within},
    test_proxy::{TestProxy, introduction, new_incarnation},
};

async fn refusal(node: &TestNode, introduction: AttachProxy) -> AttachRefusal {
    match TestProxy::attach_as(&node.endpoint(), introduction).await.err() {
        Some(ConnectError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_proxy_learns_lease_and_placement_when_it_attaches() {
    let node = TestNode::start_with(|s| s.placement_rules = vec!["devices/{key}/#".to_owned()]).await;
    let proxy = TestProxy::attach(&node.endpoint()).await;
    let attached = &proxy.link.attached;
    assert_eq!(
        (attached.protocol_version, attached.lease_ttl_ms, attached.shards),
        (PROTOCOL_VERSION, 6_000, 8)
    );
    assert_eq!(attached.placement_rules, ["devices/{key}/#"]);
    assert_eq!(attached.attachments.len(), 8);
    assert!(
        attached
            .attachments
            .iter()
            .all(|a| a.term.0 > 1_600_000_000_000 && !a.overrun)
    );
}

#[tokio::test]
async fn a_proxy_of_another_cluster_is_refused_by_name() {
    let node = TestNode::start().await;
    let foreign = AttachProxy {
        cluster_uid: ClusterUid("77b0".to_owned()),
        ..introduction(new_incarnation())
    };
    let expected = AttachRefusal::ForeignCluster {
        expected: CLUSTER_UID.to_owned(),
        found: "77b0".to_owned(),
    };
    assert_eq!(refusal(&node, foreign).await, expected);
}

#[tokio::test]
async fn a_version_that_storage_does_not_speak_is_refused_by_name() {
    let node = TestNode::start().await;
    for found in [0, 99] {
        let unknown = AttachProxy {
            protocol_version: found,
            ..introduction(new_incarnation())
        };
        let refusal = refusal(&node, unknown).await;
        assert!(
            matches!(refusal, AttachRefusal::UnknownVersion { found: f, .. } if f == found),
            "{refusal}"
        );
    }
}

#[tokio::test]
async fn an_operation_that_storage_does_not_know_is_refused_by_name() {
    let node = TestNode::start().await;
    let attach = raw::recorded("operation-attach");
    let mut operations = RawStream::open(&node, raw::OPERATIONS).await;
    let mut deliveries = RawStream::open(&node, raw::DELIVERIES).await;
    operations.send(attach.clone());
    // A frame of controls begins with the same field.
    deliveries.send(attach);
    within(operations.recv()).await.expect("attached");
    within(deliveries.recv()).await.expect("attached");
    // Field 2, an operation, whose only member has the number 15.
    operations.send(Bytes::from_static(&[0x12, 2, 0x7a, 0]));
    // Both streams say so, and end.
    for stream in [&mut operations, &mut deliveries] {
        let refusal = within(stream.recv()).await.expect("a refusal");
        assert_eq!(refusal, raw::recorded("answer-refused-2"));
        assert!(within(stream.recv()).await.is_err());
    }
    node.wait_for("the link is gone", |stats| stats.links == 0).await;
}

#[tokio::test]
async fn a_younger_link_of_an_incarnation_ends_the_older_one() {
    let node = TestNode::start().await;
    let incarnation = new_incarnation();
    let older = TestProxy::attach_as(&node.endpoint(), introduction(incarnation))
        .await
        .unwrap();
    let _younger = TestProxy::attach_as(&node.endpoint(), introduction(incarnation))
        .await
        .unwrap();
    let end = older.end().await;
    assert!(
        matches!(&end, LinkError::Lost(why) if why.contains("younger link")),
        "{end}"
    );
    node.wait_for("one link is left", |stats| (stats.incarnations, stats.links) == (1, 1))
        .await;
}

#[tokio::test]
async fn half_a_link_and_a_stream_that_says_nothing_are_ended() {
    let node = TestNode::start().await;
    let mut half = RawStream::open(&node, raw::OPERATIONS).await;
    half.send(raw::recorded("operation-attach"));
    let mut silent = RawStream::open(&node, raw::DELIVERIES).await;
    let (half, silent) = tokio::join!(within(half.recv()), within(silent.recv()));
    assert_eq!(half.unwrap_err().code(), tonic::Code::Aborted);
    assert_eq!(silent.unwrap_err().code(), tonic::Code::Aborted);
}

#[tokio::test]
async fn a_stream_that_does_not_begin_with_an_attach_is_refused() {
    let node = TestNode::start().await;
    // An empty frame, a lease renewal, and an attach without incarnation.
    for frame in [&[][..], &[0x12, 2, 0x0a, 0], &[0x0a, 0]] {
        let mut stream = RawStream::open(&node, raw::OPERATIONS).await;
        stream.send(Bytes::from_static(frame));
        assert_eq!(
            within(stream.recv()).await.unwrap_err().code(),
            tonic::Code::InvalidArgument,
            "{frame:?}"
        );
    }
}

#[tokio::test]
async fn what_is_not_storage_is_unreachable_and_what_is_no_endpoint_is_said_to_be_none() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = TestProxy::attach_as(&format!("http://{closed}"), introduction(new_incarnation()))
        .await
        .err();
    assert!(matches!(error, Some(ConnectError::Unreachable(_))), "{error:?}");
    for endpoint in [
        "",
        "storage",
        "storage:7883",
        "http://storage",
        "http://a b:1",
        "https://storage:7883",
    ] {
        let error = TestProxy::attach_as(endpoint, introduction(new_incarnation()))
            .await
            .err();
        assert_eq!(error, Some(ConnectError::Endpoint(endpoint.to_owned())));
    }
}

#[tokio::test]
async fn a_node_that_shuts_down_ends_its_links_and_returns() {
    let node = TestNode::start().await;
    let proxy = TestProxy::attach(&node.endpoint()).await;
    let (end, stopped) = tokio::join!(proxy.end(), node.stop());
    assert!(
        matches!(&end, LinkError::Lost(why) if why.contains("shuts down")),
        "{end}"
    );
    stopped.unwrap();
}
