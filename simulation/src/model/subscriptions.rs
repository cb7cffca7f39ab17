//! What a session may have been subscribed to while something happened.
//!
//! A SUBSCRIBE takes effect at some moment between its sending and its answer, and requests of a session take effect in
//! the order in which they were sent.

use crate::history::{At, History, Options, Request};
use crate::topics::{matches, shared_filter};

/// What one filter of a session may have been within a span of time.
#[derive(Debug)]
pub(super) struct Filter<'h> {
    /// Each state that it may have had: none is "not subscribed".
    pub(super) states: Vec<Option<&'h Options>>,
}

impl Filter<'_> {
    /// The session was subscribed to it all the time.
    pub(super) fn is_certain(&self) -> bool {
        self.states.iter().all(Option::is_some)
    }

    /// In no state does it leave out the session's own messages.
    pub(super) fn is_never_no_local(&self) -> bool {
        self.states.iter().flatten().all(|options| !options.no_local)
    }
}

/// Filters of a session that match `topic`, with what each may have been between `from` and `to`.
pub(super) fn filters<'h>(history: &'h History, session: usize, topic: &str, from: At, to: At) -> Vec<Filter<'h>> {
    let requests: Vec<&Request> = history
        .requests_of(session)
        .filter(|r| matches(r.filter, topic))
        .collect();
    let mut names: Vec<&str> = requests.iter().map(|r| r.filter).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| {
            let own: Vec<&Request> = requests.iter().filter(|r| r.filter == name).copied().collect();
            Filter {
                states: states(&own, from, to),
            }
        })
        .collect()
}

/// A shared subscription of a session.
#[derive(Debug)]
pub(super) struct Shared<'h> {
    /// Its whole name, which all members have.
    pub(super) group: &'static str,
    /// Each state that the session's part may have had: none is "not a member".
    pub(super) states: Vec<Option<&'h Options>>,
}

impl Shared<'_> {
    /// The session may have been a member.
    pub(super) fn is_possible(&self) -> bool {
        self.states.iter().any(Option::is_some)
    }

    /// The session was a member all the time.
    pub(super) fn is_certain(&self) -> bool {
        self.states.iter().all(Option::is_some)
    }
}

/// Whether a filter is a shared subscription whose group gets messages to `topic`.
pub(super) fn shares(filter: &str, topic: &str) -> bool {
    shared_filter(filter).is_some_and(|shared| matches(shared, topic))
}

/// Whether messages to `topic` may come to a session as a member of a group: those have no order, since one that
/// another member was given first may come later.
pub(super) fn may_share(history: &History, session: usize, topic: &str) -> bool {
    history.requests_of(session).any(|r| shares(r.filter, topic))
}

/// Shared subscriptions of a session that match `topic`, with what each may have been between `from` and `to`.
pub(super) fn shared<'h>(history: &'h History, session: usize, topic: &str, from: At, to: At) -> Vec<Shared<'h>> {
    let requests: Vec<&Request> = history
        .requests_of(session)
        .filter(|r| shares(r.filter, topic))
        .collect();
    let mut groups: Vec<&'static str> = requests.iter().map(|r| r.filter).collect();
    groups.sort_unstable();
    groups.dedup();
    let of_group = |group| {
        let own: Vec<&Request> = requests.iter().filter(|r| r.filter == group).copied().collect();
        let states = states(&own, from, to);
        Shared { group, states }
    };
    groups.into_iter().map(of_group).collect()
}

/// States between `from` and `to` of a filter with these requests, in their order.
fn states<'h>(requests: &[&'h Request], from: At, to: At) -> Vec<Option<&'h Options>> {
    let answered_before = |r: &&Request| r.answered.is_some_and(|a| a.at <= from);
    let settled = requests.iter().rposition(answered_before);
    let first = match settled {
        Some(at) => requests.get(at).and_then(|r| r.options.as_ref()),
        None => None,
    };
    let mut states = vec![first];
    let later = requests.iter().skip(settled.map_or(0, |at| at + 1));
    states.extend(later.filter(|r| r.sent <= to).map(|r| r.options.as_ref()));
    states
}

#[cfg(test)]
mod tests {
    use freshet_mqtt::{QoS, ReasonCode, RetainHandling};

    use super::*;
    use crate::history::Answered;

    fn request(sent: At, answered: Option<At>, qos: Option<QoS>) -> Request {
        Request {
            connection: 0,
            filter: "a",
            options: qos.map(|qos| Options {
                qos,
                no_local: false,
                retain_as_published: false,
                retain_handling: RetainHandling::Send,
                identifier: None,
            }),
            sent,
            answered: answered.map(|at| Answered {
                at,
                code: ReasonCode::Success,
            }),
        }
    }

    fn seen(requests: &[Request], from: At, to: At) -> Vec<Option<QoS>> {
        let requests: Vec<&Request> = requests.iter().collect();
        let states = states(&requests, from, to);
        states.into_iter().map(|s| s.map(|o| o.qos)).collect()
    }

    #[test]
    fn a_subscription_takes_effect_between_its_request_and_its_answer() {
        let requests = [request(5, Some(10), Some(QoS::AtLeastOnce))];
        let one = Some(QoS::AtLeastOnce);
        assert_eq!(seen(&requests, 1, 4), [None]);
        assert_eq!(seen(&requests, 1, 7), [None, one]);
        assert_eq!(seen(&requests, 12, 20), [one]);
    }

    #[test]
    fn what_is_asked_later_changes_what_was_granted() {
        let requests = [
            request(1, Some(2), Some(QoS::AtLeastOnce)),
            request(5, Some(10), Some(QoS::ExactlyOnce)),
            request(15, Some(20), None),
        ];
        let (one, two) = (Some(QoS::AtLeastOnce), Some(QoS::ExactlyOnce));
        assert_eq!(seen(&requests, 3, 4), [one]);
        assert_eq!(seen(&requests, 3, 6), [one, two]);
        assert_eq!(seen(&requests, 11, 12), [two]);
        assert_eq!(seen(&requests, 11, 17), [two, None]);
        assert_eq!(seen(&requests, 21, 30), [None]);
    }
}
