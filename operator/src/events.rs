//! Publishes notices as Events of `events.k8s.io`. The same notice again within some minutes becomes a series of the first.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use freshet_operator_api::MqttCluster;
use freshet_operator_core::labels;
use freshet_operator_core::notices::Notice;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use serde_json::json;

use crate::fault::FaultPoint;
use crate::write::{WriteError, Writer};

/// How long after the last one an equal notice belongs to the same series.
const SERIES_WINDOW: Duration = Duration::from_secs(360);

/// Series that are remembered; beyond it the oldest is forgotten, and its next notice is an Event of its own.
const SERIES_MAX: usize = 1_000;

/// Longest note the API server takes, in bytes.
const NOTE_MAX_BYTES: usize = 1_024;

/// Publishes Events, and remembers which series it began.
pub(crate) struct Recorder {
    writer: Writer,
    identity: String,
    series: Mutex<HashMap<(String, Notice), Series>>,
}

struct Series {
    name: String,
    count: i32,
    last: Instant,
}

impl Recorder {
    /// A recorder whose Events name `identity` as their reporter.
    pub(crate) fn new(writer: Writer, identity: String) -> Self {
        Self {
            writer,
            identity,
            series: Mutex::default(),
        }
    }

    /// Publishes one notice about a cluster.
    ///
    /// # Errors
    /// [`WriteError`] as the API server answers; the caller goes on, an Event is never worth failing for.
    pub(crate) async fn publish(&self, cluster: &MqttCluster, notice: &Notice) -> Result<(), WriteError> {
        let reference = cluster.object_ref(&());
        let namespace = reference.namespace.clone().unwrap_or_default();
        let key = (reference.uid.clone().unwrap_or_default(), notice.clone());
        let now = MicroTime(Timestamp::now());
        if let Some((name, count)) = self.continued(&key) {
            let series = json!({"series": {"count": count, "lastObservedTime": now}});
            let merged = self
                .writer
                .merge::<Event>(FaultPoint::PublishEvent, &namespace, &name, labels::MANAGER, &series)
                .await;
            // The first of the series may have been cleaned up: then this one is an Event of its own.
            if !matches!(merged, Err(WriteError::Gone(_))) {
                return merged.map(|_| ());
            }
        }
        let event = self.event(&reference, notice, now);
        let name = event.metadata.name.clone().unwrap_or_default();
        self.writer.create(FaultPoint::PublishEvent, &namespace, &event).await?;
        self.begun(key, name);
        Ok(())
    }

    fn continued(&self, key: &(String, Notice)) -> Option<(String, i32)> {
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let series = all
            .get_mut(key)
            .filter(|series| series.last.elapsed() < SERIES_WINDOW)?;
        series.count = series.count.saturating_add(1);
        series.last = Instant::now();
        Some((series.name.clone(), series.count))
    }

    fn begun(&self, key: (String, Notice), name: String) {
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, series| series.last.elapsed() < SERIES_WINDOW);
        if all.len() >= SERIES_MAX
            && let Some(oldest) = all
                .iter()
                .min_by_key(|(_, series)| series.last)
                .map(|(key, _)| key.clone())
        {
            all.remove(&oldest);
        }
        all.insert(
            key,
            Series {
                name,
                count: 1,
                last: Instant::now(),
            },
        );
    }

    fn event(&self, reference: &ObjectReference, notice: &Notice, now: MicroTime) -> Event {
        let name = reference.name.as_deref().unwrap_or_default();
        let related = notice.pod.as_ref().map(|pod| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.clone()),
            namespace: reference.namespace.clone(),
            ..ObjectReference::default()
        });
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}", now.0.as_nanosecond())),
                namespace: reference.namespace.clone(),
                ..ObjectMeta::default()
            },
            event_time: Some(now),
            type_: Some(if notice.is_warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(notice.reason.clone()),
            action: Some(notice.action.to_owned()),
            note: Some(cut(&notice.note)),
            regarding: Some(reference.clone()),
            related,
            reporting_controller: Some("freshet.dev/operator".to_owned()),
            reporting_instance: Some(self.identity.clone()),
            ..Event::default()
        }
    }
}

/// The beginning of a note that is too long, cut at a character.
fn cut(note: &str) -> String {
    if note.len() <= NOTE_MAX_BYTES {
        return note.to_owned();
    }
    let mut end = NOTE_MAX_BYTES - '…'.len_utf8();
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &note[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_at_a_character_and_fits() {
        assert_eq!(cut("short"), "short");
        let long = cut(&"ü".repeat(2_000));
        assert!(long.len() <= NOTE_MAX_BYTES && long.ends_with('…'));
    }
}
