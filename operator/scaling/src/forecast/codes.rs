//! Loads in 16 bits each, to 0.04 %, and many of them as a text of three letters each.

use serde::{Deserialize, Deserializer, Serializer, de::Error};
use std::collections::VecDeque;

/// The greatest load that a code tells from greater ones.
const MAX: f64 = 1e10;

/// The code of what is missing.
pub(super) const MISSING: u16 = 0;

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn scale() -> f64 {
    f64::from(u16::MAX - 1) / MAX.ln_1p()
}

pub(super) fn encode(value: Option<f64>) -> u16 {
    let Some(value) = value else { return MISSING };
    let code = value.clamp(0.0, MAX).ln_1p() * scale();
    u16::try_from(crate::number::count_down(code + 0.5) + 1).unwrap_or(u16::MAX)
}

pub(super) fn decode(code: u16) -> Option<f64> {
    (code != MISSING).then(|| (f64::from(code - 1) / scale()).exp_m1())
}

pub(super) fn serialize<S: Serializer>(codes: &VecDeque<u16>, serializer: S) -> Result<S::Ok, S::Error> {
    let letter = |bits: u16| char::from(LETTERS[usize::from(bits & 63)]);
    let text: String = codes
        .iter()
        .flat_map(|code| [letter(code >> 12), letter(code >> 6), letter(*code)])
        .collect();
    serializer.serialize_str(&text)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<VecDeque<u16>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bits = |letter: &u8| LETTERS.iter().position(|known| known == letter);
    let code = |letters: &[u8]| {
        let bits = letters
            .iter()
            .map(bits)
            .try_fold(0, |code, bits| Some(code << 6 | bits?))?;
        u16::try_from(bits).ok()
    };
    if text.len() % 3 != 0 {
        return Err(D::Error::custom("history is cut off"));
    }
    let codes: Option<VecDeque<u16>> = text.as_bytes().chunks(3).map(code).collect();
    codes.ok_or_else(|| D::Error::custom("history holds what is no load"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_told_to_a_twentieth_of_a_percent() {
        for value in [0.0, 1.0, 17.3, 9_999.0, 1_234_567.0, 1e10] {
            let told = decode(encode(Some(value))).expect("a load");
            assert!((told - value).abs() <= value * 5e-4 + 1e-3, "{told} for {value}");
        }
        assert_eq!(decode(encode(None)), None);
        assert_eq!(encode(Some(1e300)), u16::MAX);
    }
}
