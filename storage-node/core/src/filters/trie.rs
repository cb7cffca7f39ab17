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
    /// The literal level that it is reached by; none: the root, or what `+` leads to.
    literal: Option<Box<[u8]>>,
    parent: u32,
    /// Children by a literal level.
    literals: u32,
    /// Child by `+`; [`ROOT`]: none.
    plus: u32,
    /// Of filters that end here.
    ending: Subscribers<S>,
    /// Of filters that go on with `#` here, and match this node's path too.
    multi_level: Subscribers<S>,
}

/// Where a filter ends in the trie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FilterEnd {
    pub(super) node: u32,
    /// It ends with `#`.
    pub(super) multi_level: bool,
}

impl<S: Copy + Eq> Node<S> {
    fn new(parent: u32, literal: Option<Box<[u8]>>) -> Self {
        Self {
            literal,
            parent,
            literals: 0,
            plus: ROOT,
            ending: Subscribers::None,
            multi_level: Subscribers::None,
        }
    }

    /// Where its edge is in the table of edges.
    fn hash(&self, hash: &KeyedHash) -> u64 {
        hash.of_level(self.parent, self.literal.as_deref().unwrap_or_default())
    }

    fn is_unused(&self) -> bool {
        self.literals == 0 && self.plus == ROOT && self.ending.is_empty() && self.multi_level.is_empty()
    }
}

impl<S: Copy + Eq> WildcardTrie<S> {
    pub(super) fn new() -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::new(ROOT, None));
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

    /// Where a well-formed filter ends, if every level of it is there.
    pub(super) fn end_of(&self, filter: &[u8], hash: &KeyedHash) -> Option<FilterEnd> {
        let mut end = FilterEnd {
            node: ROOT,
            multi_level: false,
        };
        for level in filter.split(|b| *b == b'/') {
            match level {
                b"#" => end.multi_level = true,
                b"+" => end.node = self.plus_of(end.node)?,
                literal => end.node = self.find_literal(end.node, literal, hash.of_level(end.node, literal))?,
            }
        }
        Some(end)
    }

    fn plus_of(&self, parent: u32) -> Option<u32> {
        self.nodes.get(parent as usize).map(|n| n.plus).filter(|n| *n != ROOT)
    }

    fn plus_child(&mut self, parent: u32) -> u32 {
        if let Some(child) = self.plus_of(parent) {
            return child;
        }
        let child = self.add(Node::new(parent, None));
        if let Some(node) = self.nodes.get_mut(parent as usize) {
            node.plus = child;
        }
        child
    }

    fn literal_child(&mut self, parent: u32, text: &[u8], hash: &KeyedHash) -> u32 {
        let hash_of_edge = hash.of_level(parent, text);
        if let Some(child) = self.find_literal(parent, text, hash_of_edge) {
            return child;
        }
        let child = self.add(Node::new(parent, Some(text.into())));
        let nodes = &self.nodes;
        self.edges.insert_unique(hash_of_edge, child, |at| {
            nodes.get(*at as usize).map_or(0, |node| node.hash(hash))
        });
        if let Some(node) = self.nodes.get_mut(parent as usize) {
            node.literals += 1;
        }
        child
    }

    fn find_literal(&self, parent: u32, text: &[u8], hash: u64) -> Option<u32> {
        let is_it = |at: &u32| {
            self.nodes
                .get(*at as usize)
                .is_some_and(|n| n.parent == parent && n.literal.as_deref() == Some(text))
        };
        self.edges.find(hash, is_it).copied()
    }

    fn add(&mut self, node: Node<S>) -> u32 {
        // A billion levels go far beyond the bound on interest.
        u32::try_from(self.nodes.insert(node)).unwrap_or(u32::MAX)
    }

    /// Removes a subscriber, and the nodes that no filter needs any more.
    pub(super) fn remove(&mut self, end: FilterEnd, subscriber: S, hash: &KeyedHash) {
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
            if unused.literal.is_some()
                && let Ok(edge) = self.edges.find_entry(unused.hash(hash), |other| *other == at)
            {
                edge.remove();
            }
            if let Some(parent) = self.nodes.get_mut(unused.parent as usize) {
                match unused.literal {
                    Some(_) => parent.literals -= 1,
                    None => parent.plus = ROOT,
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
            if wildcards_match && node.plus != ROOT {
                stack.push((node.plus, next));
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
