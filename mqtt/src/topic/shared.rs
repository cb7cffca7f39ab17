//! Shared subscriptions (MQTT 5.0, 4.8.2).

use super::TopicError;

/// A shared subscription's group and the filter that its members share.
///
/// `$share/{group}/{filter}` is the specification's form. `$queue/{filter}` is what some brokers write for one
/// nameless group; it stands for `$share/$queue/{filter}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SharedFilter<'a> {
    /// The share name: not empty, without `/`, `+` and `#`.
    pub group: &'a str,
    /// The filter that topics are matched with. It is taken as it is, even when it begins with `$share/`.
    pub filter: &'a str,
}

/// Splits the prefix of a shared subscription off; `None` when `filter` has none. The filter behind the prefix is
/// not validated.
pub(super) fn split(filter: &str) -> Option<Result<SharedFilter<'_>, TopicError>> {
    if !filter.starts_with('$') {
        return None;
    }
    if let Some(rest) = filter.strip_prefix("$queue/") {
        if rest.is_empty() {
            return Some(Err(TopicError::SharedFilterMissing));
        }
        return Some(Ok(SharedFilter {
            group: "$queue",
            filter: rest,
        }));
    }
    let rest = filter.strip_prefix("$share/")?;
    let (group, filter) = rest.split_once('/').unwrap_or((rest, ""));
    Some(if group.is_empty() || group.contains(['+', '#']) {
        Err(TopicError::ShareName)
    } else if filter.is_empty() {
        Err(TopicError::SharedFilterMissing)
    } else {
        Ok(SharedFilter { group, filter })
    })
}
