//! A repeatable shuffle (splitmix64 and Fisher-Yates), so that both drivers meet the same order of connections.

/// The numbers below `count` in an order that `seed` decides.
pub(crate) fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..count).collect();
    let mut state = seed;
    for last in (1..count).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let choices = u64::try_from(last).unwrap_or(u64::MAX - 1) + 1;
        numbers.swap(last, usize::try_from(mixed % choices).unwrap_or(last));
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::shuffled;

    #[test]
    fn a_shuffle_keeps_all_numbers_and_is_repeatable() {
        let numbers = shuffled(1_000, 7);
        assert_eq!(numbers, shuffled(1_000, 7));
        assert_ne!(numbers, shuffled(1_000, 8));
        let mut sorted = numbers;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1_000).collect::<Vec<_>>());
    }
}
