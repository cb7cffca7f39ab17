//! Vectors of which there are millions, and that most often hold one value: no room is kept that nothing is in.
//!
//! [`Vec`] makes room for four values with the first of them, which for a session with one subscription is four times what
//! it needs. Leaves out what is read from bytes: that knows its length before.

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
}
