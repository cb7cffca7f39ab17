//! Collections without room that nothing is in.
//!
//! [`Vec`] makes room for four values with the first of them, which for a session with one subscription is four times what
//! it needs, and there are millions of these. What is read from bytes is left out: it knows its length before. A
//! [`BTreeMap`] to which keys come in their order, as they do at a start, leaves its nodes half full.

use std::collections::{BTreeMap, BTreeSet};

/// Puts a value at the end.
pub(super) fn push<T>(values: &mut Vec<T>, value: T) {
    make_room(values);
    values.push(value);
}

/// Puts a value at a place up to the end.
pub(super) fn insert<T>(values: &mut Vec<T>, at: usize, value: T) {
    make_room(values);
    values.insert(at, value);
}

/// Fills the nodes of a map to which keys came in their order.
pub(super) fn fill<K: Ord, V>(map: &mut BTreeMap<K, V>) {
    let mut rest = std::mem::take(map);
    // To an empty map all would be given as they are.
    if let Some((key, value)) = rest.pop_first() {
        map.insert(key, value);
        map.append(&mut rest);
    }
}

/// The same for a set.
pub(super) fn fill_set<K: Ord>(set: &mut BTreeSet<K>) {
    let mut rest = std::mem::take(set);
    if let Some(key) = rest.pop_first() {
        set.insert(key);
        set.append(&mut rest);
    }
}

/// Room grows by half, so that many values still cost a constant each.
fn make_room<T>(values: &mut Vec<T>) {
    if values.len() == values.capacity() {
        values.reserve_exact((values.len() / 2).max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_take_what_they_need_and_many_are_moved_seldom() {
        let mut values = Vec::new();
        push(&mut values, 1);
        assert_eq!(values.capacity(), 1);
        insert(&mut values, 0, 0);
        assert_eq!((values.as_slice(), values.capacity()), (&[0, 1][..], 2));

        let mut moves = 0;
        for value in 2..10_000 {
            moves += usize::from(values.len() == values.capacity());
            push(&mut values, value);
        }
        assert!(moves < 30, "{moves}");
        assert!(values.is_sorted());
    }

    #[test]
    fn maps_that_are_filled_have_what_they_had() {
        for count in [0, 1, 2, 1_000] {
            let (mut map, mut set) = ((0..count).map(|n| (n, -n)).collect(), (0..count).collect());
            fill(&mut map);
            fill_set(&mut set);
            assert!(map.into_iter().eq((0..count).map(|n| (n, -n))));
            assert!(set.into_iter().eq(0..count));
        }
    }
}
