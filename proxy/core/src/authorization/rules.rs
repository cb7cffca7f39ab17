//! Rules about topic names as a tree of their filters' levels, so that a message is held against those alone that begin
//! as its topic does.

use freshet_config::Effect;

/// Filters in their order, each with what its rule says.
#[derive(Debug, Default)]
pub(super) struct RuleTree {
    effects: Vec<Effect>,
    root: Node,
}

/// What the filters go on with behind some levels.
#[derive(Debug, Default)]
struct Node {
    /// Ordered by level.
    literal: Vec<(Box<str>, Node)>,
    plus: Option<Box<Node>>,
    /// The first filter that ends here.
    end: Option<u32>,
    /// The first filter that goes on with `#`.
    hash: Option<u32>,
    /// The first filter in this node and below it.
    first: u32,
}

impl RuleTree {
    /// Appends a filter.
    pub(super) fn push(&mut self, filter: &str, effect: Effect) {
        // Far fewer than that are in a resource.
        let number = u32::try_from(self.effects.len()).unwrap_or(u32::MAX);
        self.effects.push(effect);
        let mut node = &mut self.root;
        for level in filter.split('/') {
            if level == "#" {
                node.hash.get_or_insert(number);
                return;
            }
            node = node.child(level, number);
        }
        node.end.get_or_insert(number);
    }

    /// What the first filter says that matches the topic.
    pub(super) fn first_match(&self, topic_name: &str) -> Option<Effect> {
        if self.effects.is_empty() {
            return None;
        }
        let mut first = None;
        // MQTT-4.7.2-1: no wildcard stands for a first level with `$`.
        let with_wildcards = !topic_name.starts_with('$');
        self.root.search(Some(topic_name), with_wildcards, &mut first);
        self.effects.get(first? as usize).copied()
    }
}

impl Node {
    fn child(&mut self, level: &str, number: u32) -> &mut Self {
        let made = || Self {
            first: number,
            ..Self::default()
        };
        if level == "+" {
            return self.plus.get_or_insert_with(|| Box::new(made()));
        }
        let at = match self.literal.binary_search_by(|(known, _)| (**known).cmp(level)) {
            Ok(at) => at,
            Err(at) => {
                self.literal.insert(at, (level.into(), made()));
                at
            }
        };
        &mut self.literal[at].1
    }

    /// Lowers `first` to the least number of the filters below that match; `rest`: levels that are left, if any.
    ///
    /// As deep as the filters have levels.
    fn search(&self, rest: Option<&str>, with_wildcards: bool, first: &mut Option<u32>) {
        if first.is_some_and(|found| found < self.first) {
            return;
        }
        let mut take = |number: Option<u32>| {
            if let Some(number) = number
                && first.is_none_or(|found| number < found)
            {
                *first = Some(number);
            }
        };
        if with_wildcards {
            take(self.hash);
        }
        let Some(rest) = rest else {
            take(self.end);
            return;
        };
        let (level, rest) = match rest.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (rest, None),
        };
        if let Ok(at) = self.literal.binary_search_by(|(known, _)| (**known).cmp(level))
            && let Some((_, node)) = self.literal.get(at)
        {
            node.search(rest, true, first);
        }
        if let Some(plus) = self.plus.as_ref().filter(|_| with_wildcards) {
            plus.search(rest, true, first);
        }
    }
}
