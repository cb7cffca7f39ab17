//! Health and metrics as a probe and a scraper see them.

use std::time::Duration;

use freshet_load::{Leases, leases};
use freshet_process::{health_routes, metrics_routes, serve_admin};
use freshet_storage_core::inspect::ShardsView;
use freshet_storage_node::{NodeHealth, Refused, SHARDS_PATH, ShuttingDown, inspection_routes, lease_routes};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::{
    test_node::{TestNode, within},
    test_proxy::{TestProxy, introduction, message, new_incarnation},
};

async fn get(router: axum::Router, path: &str) -> (u16, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(serve_admin(listener, router));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: storage\r\nconnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut response = String::new();
    within(stream.read_to_string(&mut response)).await.unwrap();
    serving.abort();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn a_node_is_alive_and_ready_until_it_shuts_down() {
    let node = TestNode::start().await;
    let shutting_down = ShuttingDown::default();
    let health = || health_routes(NodeHealth::new(node.handle.clone(), shutting_down.clone()));
    assert_eq!(get(health(), "/livez").await.0, 200);
    assert_eq!(get(health(), "/readyz").await.0, 200);
    shutting_down.set();
    assert_eq!(get(health(), "/livez").await.0, 200);
    assert_eq!(get(health(), "/readyz").await, (503, "shutting down\n".to_owned()));
    assert_eq!(get(health(), "/").await.0, 404);
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let node = TestNode::start().await;
    let mut subscriber = TestProxy::attach(&node.endpoint()).await;
    let mut publisher = TestProxy::attach(&node.endpoint()).await;
    subscriber.subscribe(0, "a/topic/that/is/no/label").await;
    let shard = publisher.publish(1, vec![message("a/topic/that/is/no/label", "x")]);
    subscriber.next_message().await;
    publisher.outcomes(1, 1).await;

    let (status, text) = get(metrics_routes(node.handle.clone()), "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "freshet_storage_incarnations 2".to_owned(),
        "freshet_storage_links 2".to_owned(),
        "freshet_storage_connections 2".to_owned(),
        format!("freshet_storage_publishes_total{{shard=\"{}\"}} 1", shard.0),
        format!("freshet_storage_deliveries_total{{shard=\"{}\"}} 1", shard.0),
        format!("freshet_storage_queued_oldest_seconds{{shard=\"{}\"}} 0.0", shard.0),
        "freshet_storage_filters{scope=\"one_shard\"} 1".to_owned(),
        "freshet_storage_filters{scope=\"all_shards\"} 0".to_owned(),
        "freshet_storage_shed_total{reason=\"qos0_over_bound\"} 0".to_owned(),
        format!(
            "freshet_storage_build_info{{version=\"{}\"}} 1",
            env!("CARGO_PKG_VERSION")
        ),
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    assert!(text.contains("freshet_storage_turn_seconds_bucket"));
    assert!(!text.contains("no/label"));
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn looks_at_the_node_are_json_and_say_what_is_not_there() {
    let node = TestNode::start().await;
    let routes = || inspection_routes(node.handle.looker());
    let mut proxy = TestProxy::attach(&node.endpoint()).await;
    proxy.subscribe(0, "a").await;
    let (status, body) = get(routes(), SHARDS_PATH).await;
    assert_eq!(status, 200);
    let view: ShardsView = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (view.shards.len(), view.proxies.len(), view.proxies[0].linked),
        (8, 1, true)
    );

    for (target, expected, words) in [
        ("/admin/session?clientId=nobody", 404, "nobody"),
        ("/admin/queue?filter=a", 404, "no queue"),
        ("/admin/log", 404, "in memory"),
        ("/admin/session", 400, "clientId"),
        ("/admin/sessions?limit=-1", 400, "limit"),
        ("/admin/shards?shard=1", 400, "shard"),
    ] {
        let (status, body) = get(routes(), target).await;
        let refused: Refused = serde_json::from_str(&body).unwrap();
        assert_eq!(status, expected, "{target}: {body}");
        assert!(refused.error.contains(words), "{target}: {body}");
    }
    assert_eq!(get(routes(), "/admin").await.0, 404);
    assert_eq!(
        get(metrics_routes(node.handle.clone()), SHARDS_PATH).await.0,
        404,
        "no client ids beside metrics"
    );

    let looker = node.handle.looker();
    node.stop().await.unwrap();
    let (status, body) = get(inspection_routes(looker), SHARDS_PATH).await;
    assert_eq!(status, 503, "{body}");
}

#[tokio::test]
async fn a_proxy_whose_lease_has_run_out_is_lost_until_another_life_of_it_attaches() {
    let node = TestNode::start_with(|settings| settings.lease_ttl_ms = 200).await;
    let known = async || {
        let (status, body) = get(lease_routes(node.handle.clone()), leases::PATH).await;
        assert_eq!(status, 200);
        leases::decode(body.as_bytes()).unwrap()
    };
    let named = |name: &str| {
        let mut introduction = introduction(new_incarnation());
        introduction.proxy_name = name.to_owned();
        introduction
    };
    assert_eq!(
        (known().await.held, known().await.lost),
        (vec![], vec![]),
        "nobody was heard of"
    );
    let silent = TestProxy::attach_as(&node.endpoint(), named("proxy-a")).await.unwrap();
    let lost = async |wanted: &[&str]| {
        loop {
            let leases: Leases = known().await;
            if leases.lost == wanted {
                return leases;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let leases = within(lost(&["proxy-a"])).await;
    assert_eq!(leases.held, Vec::<String>::new());
    let again = TestProxy::attach_as(&node.endpoint(), named("proxy-a")).await.unwrap();
    within(lost(&[])).await;
    drop((silent, again));
}
