//! A topic filter as it is searched for in an ordered set of topic names.

/// The levels of a well-formed filter.
#[derive(Debug)]
pub(super) struct Pattern<'f> {
    filter: &'f [u8],
    levels: Vec<Level<'f>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level<'f> {
    Literal(&'f [u8]),
    Plus,
    Hash,
}

/// What a topic name says about where to look next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It matches.
    Matches,
    /// It does not, its successor might.
    NextKey,
    /// It does not, nor does anything before this key.
    SeekTo(Vec<u8>),
    /// It does not, nor does anything behind it.
    NoMore,
}

impl<'f> Pattern<'f> {
    /// None: the filter is malformed and matches nothing.
    pub(super) fn new(filter: &'f [u8]) -> Option<Self> {
        let levels: Vec<_> = filter
            .split(|b| *b == b'/')
            .map(|level| match level {
                b"#" => Some(Level::Hash),
                b"+" => Some(Level::Plus),
                literal if literal.iter().any(|b| matches!(b, b'+' | b'#')) => None,
                literal => Some(Level::Literal(literal)),
            })
            .collect::<Option<_>>()?;
        let hash_is_last = levels.iter().rev().skip(1).all(|l| *l != Level::Hash);
        (!filter.is_empty() && hash_is_last).then_some(Self { filter, levels })
    }

    /// What every match begins with: the literal levels before the first wildcard, without the separator behind them.
    pub(super) fn literal_prefix(&self) -> &'f [u8] {
        match self.filter.iter().position(|b| matches!(b, b'+' | b'#')) {
            // A wildcard fills its level, so a separator stands before it.
            Some(at) => self.filter.get(..at.saturating_sub(1)).unwrap_or_default(),
            None => self.filter,
        }
    }

    /// Judges a topic name (MQTT 5.0, 4.7).
    pub(super) fn judge(&self, topic_name: &[u8]) -> Verdict {
        if topic_name.first() == Some(&b'$') && !matches!(self.levels.first(), Some(Level::Literal(_))) {
            // `[MQTT-4.7.2-1]`: everything that begins with `$` is passed over.
            return Verdict::SeekTo(vec![b'$' + 1]);
        }
        // End of the last level that a `+` stands for.
        let mut last_plus = None;
        // Where the rest of the topic name begins; none: it has no more levels.
        let mut rest = Some(0);
        for level in &self.levels {
            if *level == Level::Hash {
                return Verdict::Matches;
            }
            let Some(start) = rest else { return Verdict::NextKey };
            let tail = topic_name.get(start..).unwrap_or_default();
            let length = tail.iter().position(|b| *b == b'/').unwrap_or(tail.len());
            let end = start + length;
            rest = (end < topic_name.len()).then_some(end + 1);
            match level {
                Level::Literal(literal) if tail.get(..length) != Some(literal) => {
                    return self.behind_mismatch(topic_name, start, literal, last_plus);
                }
                Level::Plus => last_plus = Some(end),
                Level::Literal(_) | Level::Hash => {}
            }
        }
        match rest {
            None => Verdict::Matches,
            Some(_) => behind_subtree(topic_name, last_plus),
        }
    }

    /// The level of `topic_name` that begins at `start` should have been `literal`.
    fn behind_mismatch(&self, topic_name: &[u8], start: usize, literal: &[u8], last_plus: Option<usize>) -> Verdict {
        let mut key = topic_name.get(..start).unwrap_or_default().to_vec();
        key.extend_from_slice(literal);
        if topic_name < &*key {
            return Verdict::SeekTo(key);
        }
        // Between `a` and `a/` stand names such as `a-b`.
        key.push(b'/');
        if topic_name < &*key {
            return Verdict::SeekTo(key);
        }
        behind_subtree(topic_name, last_plus)
    }
}

/// Nothing more below the level that ends at `last_plus`.
fn behind_subtree(topic_name: &[u8], last_plus: Option<usize>) -> Verdict {
    match last_plus.and_then(|end| topic_name.get(..end)) {
        Some(level) => {
            let mut key = level.to_vec();
            key.push(b'/' + 1);
            Verdict::SeekTo(key)
        }
        None => Verdict::NoMore,
    }
}
