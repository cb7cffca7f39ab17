//! How two topic filters relate: whether one matches all that another matches, or some of it.
//!
//! Called by whoever judges subscriptions by rules that are filters themselves. Both filters are taken without any prefix
//! of a shared subscription, and are valid; what is said of others means nothing, but nothing fails.

/// Whether every topic name that `other` matches is matched by `filter` too.
#[must_use]
pub fn filter_covers(filter: &str, other: &str) -> bool {
    if is_dollar(other) && begins_with_wildcard(filter) {
        // MQTT-4.7.2-1
        return false;
    }
    let (mut levels, mut others) = (Levels::of(filter), Levels::of(other));
    loop {
        match (levels.next(), others.next()) {
            (Some("#"), _) | (None, None) => return true,
            // The other one has `#`, which stands for more than one level, and for none.
            (_, Some("#")) | (None, Some(_)) | (Some(_), None) => return false,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(other)) if level == other => {}
            _ => return false,
        }
    }
}

/// Whether there is a topic name that both filters match.
#[must_use]
pub fn filters_overlap(filter: &str, other: &str) -> bool {
    if (is_dollar(other) && begins_with_wildcard(filter)) || (is_dollar(filter) && begins_with_wildcard(other)) {
        // MQTT-4.7.2-1
        return false;
    }
    let (mut levels, mut others) = (Levels::of(filter), Levels::of(other));
    loop {
        match (levels.next(), others.next()) {
            // `#` stands for whatever the other one goes on with, and for nothing.
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (None, Some(_)) | (Some(_), None) => return false,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(level), Some(other)) if level == other => {}
            _ => return false,
        }
    }
}

fn is_dollar(filter: &str) -> bool {
    filter.starts_with('$')
}

fn begins_with_wildcard(filter: &str) -> bool {
    filter.starts_with(['#', '+'])
}

/// The levels of a filter. `#` and `/#` have a `+` in front of their last one: without it they would stand for the empty
/// name too, which is none.
struct Levels<'a> {
    rest: Option<&'a str>,
    one_more: bool,
}

impl<'a> Levels<'a> {
    fn of(filter: &'a str) -> Self {
        Self {
            rest: Some(filter),
            one_more: matches!(filter, "#" | "/#"),
        }
    }
}

impl<'a> Iterator for Levels<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        if rest == "#" && std::mem::take(&mut self.one_more) {
            return Some("+");
        }
        // Levels are short: byte by byte beats a search that has to be set up.
        let slash = rest.bytes().position(|byte| byte == b'/');
        self.rest = slash.and_then(|at| rest.get(at + 1..));
        slash.map_or(Some(rest), |at| rest.get(..at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_covers_what_it_matches_all_of() {
        for (filter, other) in [
            ("a/b", "a/b"),
            ("a/+", "a/b"),
            ("a/+", "a/+"),
            ("a/#", "a"),
            ("a/#", "a/+/c"),
            ("a/#", "a/#"),
            ("#", "a/b"),
            ("#", "#"),
            ("+/#", "#"),
            ("#", "+/#"),
            ("+/+/#", "/#"),
            ("a/+/#", "a/b/#"),
            ("$SYS/#", "$SYS/x"),
        ] {
            assert!(filter_covers(filter, other), "{filter} {other}");
        }
        for (filter, other) in [
            ("a/b", "a/+"),
            ("a/+", "a/#"),
            ("a/+/#", "a/#"),
            ("a", "a/#"),
            ("a/+", "a"),
            ("+", "#"),
            ("#", "$SYS/x"),
            ("+/x", "$SYS/x"),
            ("a/b", "a/c"),
        ] {
            assert!(!filter_covers(filter, other), "{filter} {other}");
        }
    }

    #[test]
    fn filters_overlap_when_some_name_matches_both() {
        for (filter, other) in [
            ("a/+", "+/b"),
            ("a/#", "+/b/c"),
            ("a/#", "a"),
            ("#", "a"),
            ("+/#", "a"),
            ("a/+/c", "a/b/#"),
            ("#", "#"),
        ] {
            assert!(filters_overlap(filter, other), "{filter} {other}");
            assert!(filters_overlap(other, filter), "{other} {filter}");
        }
        for (filter, other) in [
            ("a/b", "a/c"),
            ("+", "a/b"),
            ("a/+/#", "a"),
            ("#", "$SYS/a"),
            ("+/a", "$x/a"),
        ] {
            assert!(!filters_overlap(filter, other), "{filter} {other}");
            assert!(!filters_overlap(other, filter), "{other} {filter}");
        }
    }
}
