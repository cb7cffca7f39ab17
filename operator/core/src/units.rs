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
    /// No quantity of memory.
    #[error("`{0}` is not a quantity of memory such as 512Mi, 1.5Gi or 1G")]
    Memory(String),
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

/// Parses a quantity of memory into bytes, rounded down: `512Mi`, `1.5Gi`, `1G`, and the rarer `128974848000m` or `129e6`.
///
/// # Errors
/// [`UnitError::Memory`] for anything else, and for what is negative or not finite.
pub fn parse_memory_bytes(text: &str) -> Result<u64, UnitError> {
    const SUFFIXES: [(&str, f64); 13] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("m", 1e-3),
        ("u", 1e-6),
        ("n", 1e-9),
    ];
    let error = || UnitError::Memory(text.to_owned());
    let (number, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
        .unwrap_or((text, 1.0));
    let bytes = parse_plain(number).ok_or_else(error)? * factor;
    whole(bytes.floor()).ok_or_else(error)
}

/// Parses a number without a unit. Rust's own parser also takes words such as `inf`, and signs.
fn parse_plain(number: &str) -> Option<f64> {
    number
        .starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '+')
        .then(|| number.parse().ok())
        .flatten()
}

/// A number without a fraction as an integer. Not from 2^53 on, where neighbouring whole numbers are one.
fn whole(number: f64) -> Option<u64> {
    if !(0.0..=9.0e15).contains(&number) {
        return None;
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within 0 and 2^53, checked above"
    )]
    let number = number as u64;
    Some(number)
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
    let millis = parse_plain(number).ok_or_else(error)? * factor;
    whole((millis - 1e-9).ceil().max(0.0)).ok_or_else(error)
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
        assert_eq!(
            ["3k", "2G", "1T", "5Gi", "1Ti"].map(|text| parse_size(text).ok()),
            [3_000, 2_000_000_000, 1_000_000_000_000, 5 << 30, 1 << 40].map(Some)
        );
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
            ("5000000n", 5),
            ("2k", 2_000_000),
            ("+1", 1000),
            (".5", 500),
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

    #[test]
    fn memory_is_counted_in_whole_bytes() {
        for (text, bytes) in [
            ("1Gi", 1 << 30),
            ("1.5Gi", 3 << 29),
            ("256Mi", 256 << 20),
            ("1G", 1_000_000_000),
            ("129e6", 129_000_000),
            ("1500m", 1),
            ("4096", 4096),
        ] {
            assert_eq!(parse_memory_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "Gi", "-1Gi", "inf", "NaN", "1Gib", "1e300", "9Ei"] {
            assert!(parse_memory_bytes(text).is_err(), "{text}");
        }
    }
}
