//! Conversions between measured numbers and counts, in one place: what does not fit is clamped, never wrapped.

/// Rounds up to a count. What is within a millionth of a whole number is that number, so that `3.0000000001` proxies
/// are three; negative numbers and NaN are 0.
pub(crate) fn count_up(value: f64) -> u32 {
    whole((value - 1e-6).ceil())
}

/// Rounds down to a count, as [`count_up`] does upwards.
pub(crate) fn count_down(value: f64) -> u32 {
    whole((value + 1e-6).floor())
}

fn whole(value: f64) -> u32 {
    if value.is_nan() || value <= 0.0 {
        return 0;
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what a count holds"
    )]
    let count = value.min(f64::from(u32::MAX)) as u32;
    count
}

/// The part of a whole that a percentage is.
pub(crate) fn fraction(percent: f64) -> f64 {
    percent / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_clamped_and_forgive_rounding() {
        assert_eq!(count_up(3.000_000_000_1), 3);
        assert_eq!(count_up(3.01), 4);
        assert_eq!(count_down(2.999_999_999), 3);
        assert_eq!(count_up(f64::NAN), 0);
        assert_eq!(count_up(-1.0), 0);
        assert_eq!(count_up(f64::INFINITY), u32::MAX);
    }
}
