//! Lists that are filled and emptied in every turn: they keep their room, but for what a rush has left behind.

/// Room that an emptied list keeps, in bytes.
const KEPT_BYTES: usize = 256 << 10;

/// Gives back the room of a list that was very long once, as when 100,000 clients subscribed together, and is empty now.
pub fn keep_little<T>(list: &mut Vec<T>) {
    let kept = KEPT_BYTES / size_of::<T>().max(1);
    if list.is_empty() && list.capacity() > kept {
        list.shrink_to(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_the_room_of_many_and_not_of_very_many() {
        let mut list: Vec<u64> = (0..1_000).collect();
        list.clear();
        let many = list.capacity();
        keep_little(&mut list);
        assert_eq!(list.capacity(), many);
        list.extend(0..1_000_000);
        list.clear();
        keep_little(&mut list);
        assert!((1_000..=32_768).contains(&list.capacity()), "{}", list.capacity());
        list.extend(0..100_000);
        let waiting = list.capacity();
        keep_little(&mut list);
        assert_eq!((list.len(), list.capacity()), (100_000, waiting), "it is not over");
    }
}
