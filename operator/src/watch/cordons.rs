//! Which nodes are cordoned: who drains a node begins with that, and evicts pods a moment later.
//!
//! Only such nodes are asked for, and of these only names come, so that a large Kubernetes costs no more than a small one.
//! One watch for the whole process. An operator that may not watch nodes knows nothing and asks again from time to time:
//! then proxies leave as they are evicted.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;

const CORDONED: &str = "spec.unschedulable=true";
/// Nodes that are remembered; the largest clusters have fewer.
const NODES_MAX: usize = 10_000;

/// Names of nodes.
type Names = BTreeSet<String>;

/// The nodes that are cordoned, as far as it is known.
#[derive(Clone, Default)]
pub(crate) struct Cordons(Arc<watch::Sender<Option<Names>>>);

impl Cordons {
    /// Their names; nothing while nobody knows.
    pub(crate) fn known(&self) -> Option<Names> {
        self.0.borrow().clone()
    }

    /// Names of nodes that are cordoned from then on, or are not any more.
    pub(super) fn changes(&self) -> BoxStream<'static, Names> {
        let begun = (self.0.subscribe(), Names::new());
        let changes = stream::unfold(begun, |(mut known, before)| async move {
            known.changed().await.ok()?;
            let now = known.borrow_and_update().clone().unwrap_or_default();
            let changed = now.symmetric_difference(&before).cloned().collect();
            Some((changed, (known, now)))
        });
        changes.boxed()
    }

    /// Watches for as long as it is polled.
    pub(crate) async fn run(self, client: Client) {
        let config = watcher::Config::default().fields(CORDONED);
        let nodes = Api::<PartialObjectMeta<Node>>::all(client);
        let events = watcher(nodes, config).default_backoff();
        self.follow(events).await;
    }

    async fn follow(&self, events: impl Stream<Item = Result<Event<PartialObjectMeta<Node>>, watcher::Error>>) {
        let mut events = std::pin::pin!(events);
        let mut listed = Names::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(node)) => add(&mut listed, node.name_any()),
                Ok(Event::InitDone) => {
                    let listed = std::mem::take(&mut listed);
                    self.change(|known| *known = Some(listed));
                }
                Ok(Event::Apply(node)) => self.change(|known| add(known.get_or_insert_default(), node.name_any())),
                Ok(Event::Delete(node)) => self.change(|known| {
                    known.get_or_insert_default().remove(&node.name_any());
                }),
                Err(error) => {
                    tracing::debug!(%error, "which nodes are cordoned");
                    if is_forbidden(&error) {
                        self.change(|known| *known = None);
                    }
                }
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Option<Names>)) {
        self.0.send_if_modified(|known| {
            let before = known.clone();
            change(known);
            *known != before
        });
    }
}

fn add(names: &mut Names, name: String) {
    if names.len() < NODES_MAX {
        names.insert(name);
    }
}

fn is_forbidden(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) = error else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

#[cfg(test)]
mod tests {
    use kube::core::{ObjectMeta, PartialObjectMetaExt as _};

    use super::*;

    fn node(name: &str) -> PartialObjectMeta<Node> {
        let meta = ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        meta.into_response_partial()
    }

    fn names(names: &[&str]) -> Names {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    async fn after(cordons: &Cordons, events: Vec<Event<PartialObjectMeta<Node>>>) -> Option<Names> {
        cordons.follow(stream::iter(events.into_iter().map(Ok))).await;
        cordons.known()
    }

    #[tokio::test]
    async fn nodes_are_cordoned_from_the_list_on_until_the_watch_says_otherwise() {
        let cordons = Cordons::default();
        let mut changes = cordons.changes();
        assert_eq!(cordons.known(), None, "nobody knows");
        let listed = after(&cordons, vec![Event::Init, Event::InitApply(node("a"))]).await;
        assert_eq!(listed, None, "the list is not whole");
        let listed = after(
            &cordons,
            vec![Event::Init, Event::InitApply(node("a")), Event::InitDone],
        )
        .await;
        assert_eq!(listed, Some(names(&["a"])));
        assert_eq!(changes.next().await, Some(names(&["a"])));
        assert_eq!(
            after(&cordons, vec![Event::Apply(node("b"))]).await,
            Some(names(&["a", "b"]))
        );
        assert_eq!(
            after(&cordons, vec![Event::Delete(node("a"))]).await,
            Some(names(&["b"]))
        );
        assert_eq!(
            changes.next().await,
            Some(names(&["a", "b"])),
            "both have changed since"
        );
        assert_eq!(
            after(&cordons, vec![Event::Init, Event::InitDone]).await,
            Some(names(&[]))
        );
    }

    #[tokio::test]
    async fn who_may_not_look_knows_nothing() {
        let cordons = Cordons::default();
        after(&cordons, vec![Event::Init, Event::InitDone]).await;
        let refused = |code| {
            let status = kube::core::Status::failure("no", "Forbidden").with_code(code);
            Err(watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status))))
        };
        cordons.follow(stream::iter([refused(500)])).await;
        assert_eq!(cordons.known(), Some(names(&[])), "it is away for a moment");
        cordons.follow(stream::iter([refused(403)])).await;
        assert_eq!(cordons.known(), None);
    }
}
