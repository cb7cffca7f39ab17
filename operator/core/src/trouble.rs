//! Why a pod does not run: what the kubelet and the scheduler say, reduced to a reason and a sentence for a condition.
//!
//! Called by [`super::observe`]. Leaves out pods that simply have not come up yet.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// Messages of container runtimes can be pages long; a condition needs the beginning.
const MESSAGE_MAX_CHARS: usize = 300;

/// Reasons for which a container waits that pass only when somebody acts.
const NEEDS_SOMEBODY: [&str; 9] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];

/// Why a pod does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// One word, as Kubernetes says it: `ImagePullBackOff`, `CrashLoopBackOff`, `Unschedulable` …
    pub reason: String,
    /// What the kubelet, the scheduler or the last life of the container said.
    pub message: String,
}

impl Trouble {
    /// Whether it passes only when somebody acts. A pod for which no node has room may get one.
    pub fn needs_somebody(&self) -> bool {
        NEEDS_SOMEBODY.contains(&self.reason.as_str())
    }
}

/// Returns what keeps the pod from running, or nothing while it runs or comes up.
pub fn trouble_of(pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let containers = status.init_container_statuses.iter().flatten();
    let waiting = containers
        .chain(status.container_statuses.iter().flatten())
        .find_map(waiting_in_trouble);
    waiting.or_else(|| {
        let unschedulable = status.conditions.iter().flatten().find(|condition| {
            condition.type_ == "PodScheduled"
                && condition.status == "False"
                && condition.reason.as_deref() == Some("Unschedulable")
        })?;
        Some(Trouble {
            reason: "Unschedulable".to_owned(),
            message: shortened(unschedulable.message.as_deref().unwrap_or("no node has room for it")),
        })
    })
}

fn waiting_in_trouble(container: &ContainerStatus) -> Option<Trouble> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting
        .reason
        .as_deref()
        .filter(|reason| NEEDS_SOMEBODY.contains(reason))?;
    let mut message = waiting.message.as_deref().unwrap_or("no message").trim().to_owned();
    if let Some(last) = container
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref())
    {
        let said = last.message.as_deref().map(str::trim).filter(|said| !said.is_empty());
        message = match said {
            Some(said) => format!("it ended with exit code {}: {said}", last.exit_code),
            None => format!("it ended with exit code {}; {message}", last.exit_code),
        };
    }
    Some(Trouble {
        reason: reason.to_owned(),
        message: shortened(&message),
    })
}

/// Returns why the kubelet has not given a pod what its containers request since they were changed, or nothing when it has.
pub fn resize_trouble_of(pod: &Pod) -> Option<Trouble> {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let of = |type_: &str| {
        conditions
            .clone()
            .find(|condition| condition.type_ == type_ && condition.status == "True")
    };
    // One that is in progress is in trouble only when the kubelet says so.
    let pending = of("PodResizePending");
    let found = pending.or_else(|| of("PodResizeInProgress").filter(|it| it.reason.as_deref() == Some("Error")))?;
    Some(Trouble {
        reason: found.reason.clone().unwrap_or_else(|| "Deferred".to_owned()),
        message: shortened(found.message.as_deref().unwrap_or("no message")),
    })
}

/// The first line's worth of a text, cut at a character.
pub(crate) fn shortened(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MESSAGE_MAX_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: serde_json::Value) -> Pod {
        let mut pod = json!({});
        pod["status"] = status;
        serde_json::from_value(pod).expect("a pod")
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_named_as_the_kubelet_names_it() {
        let pod = pod(json!({"containerStatuses": [{
            "name": "proxy", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"nowhere/x:1\""}},
        }]}));
        let trouble = trouble_of(&pod).expect("a trouble");
        assert_eq!(trouble.reason, "ImagePullBackOff");
        assert!(trouble.message.contains("nowhere/x:1"));
        assert!(trouble.needs_somebody());
    }

    #[test]
    fn a_crashing_container_shows_the_last_words_of_its_last_life() {
        let pod = pod(json!({"containerStatuses": [{
            "name": "proxy", "image": "x", "imageID": "", "ready": false, "restartCount": 4,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 1m20s restarting failed container"}},
            "lastState": {"terminated": {"exitCode": 2, "reason": "Error", "message": "cannot read /etc/freshet/proxy.json\n"}},
        }]}));
        let trouble = trouble_of(&pod).expect("a trouble");
        assert_eq!(
            trouble.message,
            "it ended with exit code 2: cannot read /etc/freshet/proxy.json"
        );
    }

    #[test]
    fn a_pod_without_a_node_says_what_the_scheduler_said_and_may_get_one() {
        let pod = pod(json!({"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu.",
        }]}));
        let trouble = trouble_of(&pod).expect("a trouble");
        assert_eq!(trouble.reason, "Unschedulable");
        assert!(!trouble.needs_somebody());
    }

    #[test]
    fn a_pod_that_comes_up_is_in_no_trouble() {
        let pod = pod(json!({"containerStatuses": [{
            "name": "proxy", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ContainerCreating"}},
        }]}));
        assert_eq!(trouble_of(&pod), None);
    }

    #[test]
    fn a_resize_that_waits_says_what_the_kubelet_says_and_one_that_goes_on_says_nothing() {
        let of = |type_: &str, reason: &str| {
            let message = "Node didn't have enough resource: cpu, requested: 500";
            let condition = json!({"type": type_, "status": "True", "reason": reason, "message": message});
            resize_trouble_of(&pod(json!({"conditions": [condition]}))).map(|trouble| trouble.reason)
        };
        assert_eq!(of("PodResizePending", "Deferred").as_deref(), Some("Deferred"));
        assert_eq!(of("PodResizePending", "Infeasible").as_deref(), Some("Infeasible"));
        assert_eq!(of("PodResizeInProgress", "Error").as_deref(), Some("Error"));
        assert_eq!(of("PodResizeInProgress", ""), None);
        assert_eq!(of("Ready", "Deferred"), None);
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let cut = shortened(&"ü".repeat(1000));
        assert_eq!(cut.chars().count(), MESSAGE_MAX_CHARS + 1);
    }

    #[test]
    fn only_what_says_that_no_node_has_room_is_a_trouble_of_the_scheduler() {
        let of = |type_: &str, status: &str, reason: &str| {
            let condition = json!({"type": type_, "status": status, "reason": reason});
            trouble_of(&pod(json!({"conditions": [condition]}))).map(|trouble| trouble.message)
        };
        assert_eq!(
            of("PodScheduled", "False", "Unschedulable").as_deref(),
            Some("no node has room for it")
        );
        assert_eq!(of("PodScheduled", "True", "Unschedulable"), None);
        assert_eq!(of("PodScheduled", "False", "SchedulingGated"), None);
        assert_eq!(of("Ready", "False", "Unschedulable"), None);
    }

    #[test]
    fn a_crashing_container_without_last_words_shows_its_exit_code() {
        let message = |said: &str| {
            let pod = pod(json!({"initContainerStatuses": [{
                "name": "proxy", "image": "x", "imageID": "", "ready": false, "restartCount": 4,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
                "lastState": {"terminated": {"exitCode": 139, "message": said}},
            }]}));
            trouble_of(&pod).expect("a trouble").message
        };
        assert_eq!(message(" \n"), "it ended with exit code 139; back-off 10s");
        assert_eq!(message("no\n  memory"), "it ended with exit code 139: no memory");
    }
}
