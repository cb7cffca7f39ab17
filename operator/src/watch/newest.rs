//! A watch's store that never shows less than this process has written itself.
//!
//! A watch lags behind by milliseconds. Planned from its store alone, the next step would be planned from before the last
//! one: harmless, because writes carry preconditions, but for nothing. So every answer to a write is kept until the watch
//! has caught up, or for some seconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::runtime::reflector::store::WriterDropped;
use kube::runtime::reflector::{ObjectRef, Store};

/// How long an answer is kept at most: a watch that has not caught up by then is broken, and will begin anew.
const KEPT_AT_MOST: Duration = Duration::from_secs(10);

/// A store, and what was written since.
pub(crate) struct Newest<K: kube::Resource<DynamicType = ()> + 'static> {
    store: Store<K>,
    written: Mutex<Written<K>>,
}

/// Answers to writes, and when they came.
type Written<K> = HashMap<ObjectRef<K>, (Instant, Arc<K>)>;

impl<K: kube::Resource<DynamicType = ()> + Clone + 'static> Newest<K> {
    /// The newest of a store.
    pub(crate) fn new(store: Store<K>) -> Self {
        Self {
            store,
            written: Mutex::default(),
        }
    }

    /// Waits until the watch has delivered what there was.
    ///
    /// # Errors
    /// When the watch has ended for good.
    pub(crate) async fn wait_until_ready(&self) -> Result<(), WriterDropped> {
        self.store.wait_until_ready().await
    }

    /// Keeps the answer to a write.
    pub(crate) fn wrote(&self, object: K) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|_, (at, _)| at.elapsed() < KEPT_AT_MOST);
        written.insert(ObjectRef::from_obj(&object), (Instant::now(), Arc::new(object)));
    }

    /// Forgets what was written to an object that this process has deleted.
    pub(crate) fn deleted(&self, namespace: &str, name: &str) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.remove(&ObjectRef::new(name).within(namespace));
    }

    /// All objects as they were watched, in all namespaces: for who looks again in a moment.
    pub(crate) fn watched(&self) -> Vec<Arc<K>> {
        self.store.state()
    }

    /// One object.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let key = ObjectRef::new(name).within(namespace);
        let watched = self.store.get(&key);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        newer(watched, &key, &mut written)
    }

    /// All objects of a namespace that `matches`.
    pub(crate) fn list(&self, namespace: &str, matches: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let belongs = |object: &K| object.namespace().as_deref() == Some(namespace) && matches(object);
        let mut all = self.store.state_filter(belongs);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.is_empty() {
            return all;
        }
        for object in &mut all {
            let key = ObjectRef::from_obj(object.as_ref());
            if let Some(newer) = newer(Some(Arc::clone(object)), &key, &mut written) {
                *object = newer;
            }
        }
        // What was created and not seen yet.
        for (key, (at, object)) in written.iter() {
            let is_known = || all.iter().any(|known| known.name_any() == key.name);
            if at.elapsed() < KEPT_AT_MOST && belongs(object) && self.store.get(key).is_none() && !is_known() {
                all.push(Arc::clone(object));
            }
        }
        all
    }
}

/// The newer of what was watched and written, by resource version. What the watch has caught up with is forgotten.
fn newer<K: kube::Resource<DynamicType = ()>>(
    watched: Option<Arc<K>>,
    key: &ObjectRef<K>,
    written: &mut Written<K>,
) -> Option<Arc<K>> {
    let Some((at, own)) = written.get(key) else {
        return watched;
    };
    let is_newer = match &watched {
        None => true,
        Some(watched) => match (version(own.as_ref()), version(watched.as_ref())) {
            (Some(own), Some(watched)) => own > watched,
            // Versions that are no numbers say nothing about their order.
            _ => false,
        },
    };
    if is_newer && at.elapsed() < KEPT_AT_MOST {
        return Some(Arc::clone(own));
    }
    written.remove(key);
    watched
}

fn version<K: kube::Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::reflector;
    use kube::runtime::watcher::Event;

    fn object(name: &str, version: &str) -> ConfigMap {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "namespace": "ns", "resourceVersion": version},
        }))
        .expect("an object")
    }

    fn versions(newest: &Newest<ConfigMap>) -> Vec<(String, String)> {
        let all = newest.list("ns", |_| true);
        all.iter()
            .map(|object| (object.name_any(), object.resource_version().unwrap_or_default()))
            .collect()
    }

    fn pair(name: &str, version: &str) -> (String, String) {
        (name.to_owned(), version.to_owned())
    }

    #[test]
    fn what_was_written_is_seen_until_the_watch_has_caught_up() {
        let (store, mut watch) = reflector::store();
        let newest = Newest::new(store);
        watch.apply_watcher_event(&Event::Apply(object("a", "5")));
        newest.wrote(object("a", "10"));
        assert_eq!(versions(&newest), [pair("a", "10")]);
        watch.apply_watcher_event(&Event::Apply(object("a", "9")));
        assert_eq!(
            newest
                .get("ns", "a")
                .and_then(|object| object.resource_version())
                .as_deref(),
            Some("10")
        );
        watch.apply_watcher_event(&Event::Apply(object("a", "11")));
        assert_eq!(versions(&newest), [pair("a", "11")]);
        assert!(
            newest.written.lock().expect("no panic").is_empty(),
            "caught up is forgotten"
        );
    }

    #[test]
    fn what_was_created_is_there_before_the_watch_knows_and_what_was_deleted_is_not() {
        let (store, _watch) = reflector::store();
        let newest = Newest::new(store);
        newest.wrote(object("a", "1"));
        assert_eq!(versions(&newest), [pair("a", "1")]);
        assert!(newest.list("other", |_| true).is_empty());
        newest.deleted("ns", "a");
        assert!(versions(&newest).is_empty());
    }
}
