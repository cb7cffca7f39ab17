//! Texts with units: durations, sizes, and CPU quantities. The API server has refused most of what is wrong; what it
//! cannot know, or has stored before it knew, ends here as an error that says what is expected.

use std::time::Duration;

use thiserror::Error;

/// A text that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnitError {
    /// No duration.
    #[error("`{0}` is not a duration such as 500ms, 30s, 5m or 1h30m")]
    Duration(String),
    /// No number of bytes.
    #[error("`{0}` is not a number of bytes such as 4096, 64Ki or 1Mi")]
    Size(String),
    /// No CPU quantity.
    #[error("`{0}` is not a CPU quantity such as 500m, 2 or 1.5")]
    Cpu(String),
}

/// Parses a duration: one or more whole numbers, each with `ms`, `s`, `m` or `h`.
///
/// # Errors
/// [`UnitError::Duration`] for anything else, and for more than a duration holds.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let error = || UnitError::Duration(text.to_owned());
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(error());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let number: u64 = number.parse().map_err(|_| error())?;
        let millis_per_unit: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(error()),
        };
        let millis = number.checked_mul(millis_per_unit).ok_or_else(error)?;
        total = total.checked_add(Duration::from_millis(millis)).ok_or_else(error)?;
        rest = tail;
    }
    Ok(total)
}

/// Parses a number of bytes: a whole number with a decimal or binary suffix, or none.
///
/// # Errors
/// [`UnitError::Size`] for anything else, and for more than 2^64 - 1 bytes.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let error = || UnitError::Size(text.to_owned());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| error())?;
    let factor: u64 = match suffix {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return Err(error()),
    };
    number.checked_mul(factor).ok_or_else(error)
}

/// Parses a CPU quantity into thousandths of a CPU, rounded up: `500m`, `2`, `1.5`, and the rarer `2k` or `2e3`.
///
/// # Errors
/// [`UnitError::Cpu`] for anything else, and for what is negative or not finite.
pub fn parse_cpu_millis(text: &str) -> Result<u64, UnitError> {
    let error = || UnitError::Cpu(text.to_owned());
    let (number, factor) = match text.strip_suffix(['n', 'u', 'm', 'k']) {
        Some(number) => {
            let factor = match text.as_bytes().last() {
                Some(b'n') => 1e-6,
                Some(b'u') => 1e-3,
                Some(b'm') => 1.0,
                _ => 1e6,
            };
            (number, factor)
        }
        None => (text, 1e3),
    };
    // Rust's own parser takes words such as `inf`.
    if !number.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '+') {
        return Err(error());
    }
    let millis = number.parse::<f64>().map_err(|_| error())? * factor;
    // 2^53: from there on neighbouring whole numbers are one.
    if !(0.0..=9.0e15).contains(&millis) {
        return Err(error());
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within 0 and 2^53, checked above"
    )]
    let millis = (millis - 1e-9).ceil().max(0.0) as u64;
    Ok(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_add_up_their_parts() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn a_duration_needs_whole_numbers_and_a_known_unit_for_each() {
        for text in [
            "",
            "30",
            "s",
            "1.5s",
            "-1s",
            "1d",
            "1s30",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(
                parse_duration(text),
                Err(UnitError::Duration(text.to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn sizes_take_decimal_and_binary_suffixes() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("64Ki"), Ok(65536));
        assert_eq!(parse_size("1Mi"), Ok(1 << 20));
        assert_eq!(parse_size("2M"), Ok(2_000_000));
        assert_eq!(parse_size("0"), Ok(0));
    }

    #[test]
    fn a_size_is_whole_and_fits() {
        for text in [
            "",
            "Mi",
            "1.5Gi",
            "-1",
            "1mi",
            "1 Mi",
            "18446744073709551616",
            "99999999999Ti",
        ] {
            assert_eq!(parse_size(text), Err(UnitError::Size(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn cpu_quantities_are_rounded_up_to_thousandths() {
        for (text, millis) in [
            ("2", 2000),
            ("500m", 500),
            ("1.5", 1500),
            ("0.1", 100),
            ("100001u", 101),
            ("1e1", 10_000),
            ("0", 0),
        ] {
            assert_eq!(parse_cpu_millis(text), Ok(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_cpu_quantity_is_an_error() {
        for text in ["", "m", "-1", "inf", "NaN", "two", "1Gi", "1e300"] {
            assert_eq!(parse_cpu_millis(text), Err(UnitError::Cpu(text.to_owned())), "{text}");
        }
    }
}
