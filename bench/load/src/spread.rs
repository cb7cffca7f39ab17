//! Medians and spreads. Pure.

/// The middle of values; none of none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// The median, and in brackets least and most.
#[must_use]
pub fn spread(values: Vec<f64>, decimals: usize) -> String {
    let least = values.iter().copied().min_by(f64::total_cmp);
    let most = values.iter().copied().max_by(f64::total_cmp);
    let (Some(median), Some(least), Some(most)) = (median(values), least, most) else {
        return "-".to_owned();
    };
    format!("{median:.decimals$} [{least:.decimals$}, {most:.decimals$}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(spread(vec![4.0, 1.0, 2.0, 3.0], 1), "2.5 [1.0, 4.0]");
        assert_eq!(spread(vec![3.0, 1.0, 2.0], 0), "2 [1, 3]");
        assert_eq!(spread(Vec::new(), 0), "-");
    }
}
