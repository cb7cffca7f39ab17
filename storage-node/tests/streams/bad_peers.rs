//! What is not a proxy, or not a well one: it ends for itself alone.

use std::time::Duration;

use bytes::Bytes;
use freshet_storage_contract::{Answer, Operation};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    raw::{self, RawStream},
    test_node::{TestNode, within},
    test_proxy::TestProxy,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether a well proxy gets an answer.
async fn is_answered(proxy: &mut TestProxy) -> bool {
    proxy.operate(Operation::RenewLease);
    proxy.next_answer().await == Answer::LeaseRenewed
}

/// Sends `bytes` and waits until the node closes the connection.
async fn send_until_closed(node: &TestNode, bytes: &[u8]) {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // Closed or reset, both is well.
    let _ = within(stream.read_to_end(&mut answer)).await;
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let node = TestNode::start().await;
    let mut proxy = TestProxy::attach(&node.endpoint()).await;
    let mqtt_connect = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00 and more than a preface is long";
    let http = b"GET /metrics HTTP/1.1\r\nhost: storage\r\n\r\n";
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and more than a preface is long";
    let bad_frame = [PREFACE, &[0xff; 64]].concat();
    for bytes in [&[0; 64][..], &[0xff; 4_096], mqtt_connect, http, tls, &bad_frame] {
        send_until_closed(&node, bytes).await;
        assert!(is_answered(&mut proxy).await);
    }
}

#[tokio::test]
async fn frames_that_are_no_frames_end_their_stream_only() {
    let node = TestNode::start().await;
    let mut proxy = TestProxy::attach(&node.endpoint()).await;
    for path in [raw::OPERATIONS, raw::DELIVERIES] {
        for frame in [&[0xff; 32][..], b"\x0a\xff\xff\xff\xff\x0f", b"not protobuf at all"] {
            let mut stream = RawStream::open(&node, path).await;
            stream.send(Bytes::from_static(frame));
            assert_eq!(
                within(stream.recv()).await.unwrap_err().code(),
                tonic::Code::InvalidArgument
            );
        }
        // Larger than a frame may be.
        let mut stream = RawStream::open(&node, path).await;
        stream.send(Bytes::from(vec![0; 5 << 20]));
        assert!(within(stream.recv()).await.is_err());
    }
    assert!(is_answered(&mut proxy).await);
}

#[tokio::test]
async fn a_proxy_that_says_what_it_must_not_is_ended_with_the_reason() {
    let node = TestNode::start().await;
    let mut well = TestProxy::attach(&node.endpoint()).await;
    let bad = TestProxy::attach(&node.endpoint()).await;
    // The first publication of an incarnation has the number 1.
    bad.publish(5, vec![crate::test_proxy::message("a", "")]);
    let end = bad.end().await;
    assert!(end.to_string().contains("does not follow"), "{end}");
    assert!(is_answered(&mut well).await);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let node = TestNode::start().await;
    send_until_closed(&node, b"").await;
}

#[tokio::test]
async fn a_proxy_that_does_not_read_its_answers_is_ended() {
    let node = TestNode::start().await;
    let mut well = TestProxy::attach(&node.endpoint()).await;
    let deaf = TestProxy::attach(&node.endpoint()).await;
    // Far more answers than flow control and the node's backlog together take.
    let mut sent = 0;
    while !is_ended(&node).await {
        assert!(sent < 10_000_000, "answers are kept without bound");
        let mut operations = vec![Operation::RenewLease; 10_000];
        sent += operations.len();
        if deaf.link.operations.send(&mut operations).await.is_err() {
            break;
        }
        assert!(is_answered(&mut well).await);
    }
    within(async {
        while !is_ended(&node).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(is_answered(&mut well).await);
}

async fn is_ended(node: &TestNode) -> bool {
    let metrics = node.handle.metrics().await.unwrap();
    metrics.contains("freshet_storage_links_ended_total{reason=\"not_drained\"} 1")
}
