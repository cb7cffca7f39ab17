//! Filters with wildcards, by level. A publication visits only nodes whose path matches the beginning of its topic.
//!
//! All edges with a literal level share one keyed hash table, so a level costs a node and a table entry, not a map of
//! its own. The walk has a stack of its own: the depth of a topic is the client's choice.

use hashbrown::HashTable;
use slab::Slab;

use super::subscribers::Subscribers;
use crate::hash::KeyedHash;

/// Node of filters that begin at the first level.
const ROOT: u32 = 0;

/// Filters with wildcards of a shard.
#[derive(Debug)]
pub(super) struct WildcardTrie<S> {
    nodes: Slab<Node<S>>,
    /// Nodes reached by a literal level, found by (parent, level).
    edges: HashTable<u32>,
    /// Reused by [`Self::find`]: nodes to visit, and where the rest of the topic begins; none: it has ended.
    stack: Vec<(u32, Option<usize>)>,
}

#[derive(Debug)]
struct Node<S> {
    parent: u32,
    level: Level,
    /// Children by a literal level.
    literals: u32,
    /// Child by `+`.
    plus: Option<u32>,
    /// Of filters that end here.
    ending: Subscribers<S>,
    /// Of filters that go on with `#` here, and match this node's path too.
    multi_level: Subscribers<S>,
}

#[derive(Debug)]
enum Level {
    Root,
    Plus,
    Literal { text: Box<[u8]>, hash: u64 },
}

/// Where a filter ends in the trie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FilterEnd {
    node: u32,
    multi_level: bool,
}

impl<S: Copy + Eq> Node<S> {
    fn new(parent: u32, level: Level) -> Self {
        Self {
            parent,
            level,
            literals: 0,
            plus: None,
            ending: Subscribers::None,
            multi_level: Subscribers::None,
        }
    }

    fn is_unused(&self) -> bool {
        self.literals == 0 && self.plus.is_none() && self.ending.is_empty() && self.multi_level.is_empty()
    }
}

impl<S: Copy + Eq> WildcardTrie<S> {
    pub(super) fn new() -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::new(ROOT, Level::Root));
        Self {
            nodes,
            edges: HashTable::new(),
            stack: Vec::new(),
        }
    }

    /// Registers a subscriber of a well-formed filter.
    pub(super) fn insert(&mut self, filter: &[u8], subscriber: S, hash: &KeyedHash) -> FilterEnd {
        let mut end = FilterEnd {
            node: ROOT,
            multi_level: false,
        };
        for level in filter.split(|b| *b == b'/') {
            match level {
                b"#" => end.multi_level = true,
                b"+" => end.node = self.plus_child(end.node),
                literal => end.node = self.literal_child(end.node, literal, hash),
            }
        }
        if let Some(node) = self.nodes.get_mut(end.node as usize) {
            let subscribers = if end.multi_level {
                &mut node.multi_level
            } else {
                &mut node.ending
            };
            subscribers.insert(subscriber);
        }
        end
    }

    fn plus_child(&mut self, parent: u32) -> u32 {
        if let Some(child) = self.nodes.get(parent as usize).and_then(|n| n.plus) {
            return child;
        }
        let child = self.add(Node::new(parent, Level::Plus));
        if let Some(node) = self.nodes.get_mut(parent as usize) {
            node.plus = Some(child);
        }
        child
    }

    fn literal_child(&mut self, parent: u32, text: &[u8], hash: &KeyedHash) -> u32 {
        let hash = hash.of_level(parent, text);
        if let Some(child) = self.find_literal(parent, text, hash) {
            return child;
        }
        let child = self.add(Node::new(
            parent,
            Level::Literal {
                text: text.into(),
                hash,
            },
        ));
        let nodes = &self.nodes;
        self.edges
            .insert_unique(hash, child, |at| match nodes.get(*at as usize).map(|n| &n.level) {
                Some(Level::Literal { hash, .. }) => *hash,
                _ => 0,
            });
        if let Some(node) = self.nodes.get_mut(parent as usize) {
            node.literals += 1;
        }
        child
    }

    fn find_literal(&self, parent: u32, text: &[u8], hash: u64) -> Option<u32> {
        let is_it = |at: &u32| {
            self.nodes.get(*at as usize).is_some_and(|n| {
                n.parent == parent && matches!(&n.level, Level::Literal { text: found, .. } if &**found == text)
            })
        };
        self.edges.find(hash, is_it).copied()
    }

    fn add(&mut self, node: Node<S>) -> u32 {
        // Four billion levels go far beyond the bound on interest.
        u32::try_from(self.nodes.insert(node)).unwrap_or(u32::MAX)
    }

    /// Removes a subscriber, and the nodes that no filter needs any more.
    pub(super) fn remove(&mut self, end: FilterEnd, subscriber: S) {
        if let Some(node) = self.nodes.get_mut(end.node as usize) {
            let subscribers = if end.multi_level {
                &mut node.multi_level
            } else {
                &mut node.ending
            };
            subscribers.remove(subscriber);
        }
        let mut at = end.node;
        while at != ROOT && self.nodes.get(at as usize).is_some_and(Node::is_unused) {
            let unused = self.nodes.remove(at as usize);
            if let Level::Literal { hash, .. } = unused.level
                && let Ok(edge) = self.edges.find_entry(hash, |other| *other == at)
            {
                edge.remove();
            }
            if let Some(parent) = self.nodes.get_mut(unused.parent as usize) {
                match unused.level {
                    Level::Literal { .. } => parent.literals -= 1,
                    Level::Plus => parent.plus = None,
                    Level::Root => {}
                }
            }
            at = unused.parent;
        }
    }

    /// Adds to `found` the subscribers of all filters that match (MQTT 5.0, 4.7).
    pub(super) fn find(&mut self, topic_name: &[u8], hash: &KeyedHash, found: &mut Vec<S>) {
        if self.nodes.len() == 1 && self.nodes.get(ROOT as usize).is_some_and(Node::is_unused) {
            return;
        }
        // Wildcards of the first level do not match topics that begin with `$` (`[MQTT-4.7.2-1]`).
        let is_dollar = topic_name.first() == Some(&b'$');
        let mut stack = std::mem::take(&mut self.stack);
        stack.push((ROOT, Some(0)));
        while let Some((at, rest)) = stack.pop() {
            let Some(node) = self.nodes.get(at as usize) else {
                continue;
            };
            let wildcards_match = at != ROOT || !is_dollar;
            if wildcards_match {
                found.extend_from_slice(node.multi_level.as_slice());
            }
            let Some(start) = rest else {
                found.extend_from_slice(node.ending.as_slice());
                continue;
            };
            let tail = topic_name.get(start..).unwrap_or_default();
            let length = tail.iter().position(|b| *b == b'/').unwrap_or(tail.len());
            let next = (length < tail.len()).then_some(start + length + 1);
            if wildcards_match && let Some(plus) = node.plus {
                stack.push((plus, next));
            }
            if node.literals > 0 {
                let level = tail.get(..length).unwrap_or_default();
                if let Some(child) = self.find_literal(at, level, hash.of_level(at, level)) {
                    stack.push((child, next));
                }
            }
        }
        self.stack = stack;
    }

    #[cfg(test)]
    pub(super) fn node_count(&self) -> usize {
        self.nodes.len() - 1
    }
}
