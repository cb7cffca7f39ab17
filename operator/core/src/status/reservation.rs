//! What active proxies should have reserved on their nodes and have not: what the condition `ResizeDeferred` says.

use super::{Outcome, StatusInput};
use crate::observe::ProxyPod;
use crate::plan::ProxyAction;

/// Finds an active proxy whose node, or the API server, does not give it what it should reserve: a word and a sentence.
pub(super) fn find_missing(input: &StatusInput<'_>) -> Option<(String, String)> {
    let active = || input.observed.proxies.iter().filter(|proxy| proxy.is_active());
    let all: Vec<(&ProxyPod, &str, &str)> = active()
        .filter_map(|proxy| {
            let (reason, message) = missing(input, proxy)?;
            Some((proxy, reason, message))
        })
        .collect();
    let (proxy, reason, message) = all.first()?;
    let more = match all.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let node = proxy.pod.node.as_deref().unwrap_or("an unknown node");
    let name = &proxy.pod.name;
    Some((
        (*reason).to_owned(),
        format!("{name} on {node}{more} serves without its reservation: {message}"),
    ))
}

fn missing<'a>(input: &StatusInput<'a>, proxy: &'a ProxyPod) -> Option<(&'a str, &'a str)> {
    if let Some(trouble) = &proxy.resize {
        let reason = match trouble.reason.as_str() {
            "Deferred" => "NodeFull",
            other => other,
        };
        return Some((reason, &trouble.message));
    }
    let Outcome::Planned { proxies, .. } = input.outcome else {
        return None;
    };
    // One that is not to be resized any more has what it should.
    let is_due = |action: &ProxyAction| matches!(action, ProxyAction::Resize { uid, .. } if *uid == proxy.pod.uid);
    let message = input.refused_resizes.get(&proxy.pod.uid)?;
    proxies
        .actions
        .iter()
        .any(is_due)
        .then_some(("Refused", message.as_str()))
}
