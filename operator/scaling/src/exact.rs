//! Memory as JSON that is read back to the bit. A decimal number may be read one unit in the last place away from what was
//! written, and then a scaler that restarts could decide otherwise; so numbers with a fraction are written as their bits.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Number, Value};

/// Begins a text that is the bits of a number. No other text in the memory begins with it.
const MARK: char = '#';

/// The value as JSON; empty if it has a form that JSON has not.
pub(crate) fn write(value: &impl Serialize) -> String {
    serde_json::to_value(value)
        .map(|mut value| {
            hide(&mut value);
            value.to_string()
        })
        .unwrap_or_default()
}

/// The value that was written, if it was.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Option<T> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    show(&mut value)?;
    serde_json::from_value(value).ok()
}

fn hide(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let bits = number.as_f64().unwrap_or_default().to_bits();
            *value = Value::String(format!("{MARK}{bits:x}"));
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::Object(values) => values.values_mut().for_each(hide),
        _ => {}
    }
}

fn show(value: &mut Value) -> Option<()> {
    match value {
        Value::String(text) => {
            if let Some(bits) = text.strip_prefix(MARK) {
                let number = f64::from_bits(u64::from_str_radix(bits, 16).ok()?);
                *value = Value::Number(Number::from_f64(number)?);
            }
            Some(())
        }
        Value::Array(values) => values.iter_mut().try_for_each(show),
        Value::Object(values) => values.values_mut().try_for_each(show),
        _ => Some(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_to_the_bit_and_texts_as_they_are() {
        let value = (vec![0.1 + 0.2, 1e-300, f64::MAX, 3.0], "ABC+/".to_owned(), 7_u64);
        assert_eq!(read(&write(&value)), Some(value));
    }

    #[test]
    fn bits_that_are_no_number_are_refused() {
        assert_eq!(read::<f64>("\"#7ff8000000000000\""), None);
        assert_eq!(read::<f64>("\"#x\""), None);
    }
}
