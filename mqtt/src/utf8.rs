//! The UTF-8 Encoded String (MQTT 5.0, 1.5.4).
//!
//! Refused: bytes that are no UTF-8 (which includes surrogates and overlong forms, `[MQTT-1.5.4-1]`) and U+0000
//! (`[MQTT-1.5.4-2]`). Accepted although senders SHOULD avoid them: control characters and non-characters. A byte
//! order mark is a character like any other and stays (`[MQTT-1.5.4-3]`).

use crate::error::DecodeErrorKind;

/// Returns `bytes` as the string they encode.
///
/// # Errors
/// [`DecodeErrorKind::InvalidUtf8`] or [`DecodeErrorKind::NulCharacter`].
#[inline]
pub fn validate_utf8(bytes: &[u8]) -> Result<&str, DecodeErrorKind> {
    let string = str::from_utf8(bytes).map_err(|_| DecodeErrorKind::InvalidUtf8)?;
    if memchr::memchr(0, bytes).is_some() {
        return Err(DecodeErrorKind::NulCharacter);
    }
    Ok(string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(false, shows("5.0:1.5.4-1", "3.1.1:1.5.3-1"))]
    fn surrogates_overlong_forms_and_cut_sequences_are_refused() {
        for bytes in [
            &[0xED, 0xA0, 0x80][..],   // U+D800
            &[0xED, 0xBF, 0xBF],       // U+DFFF
            &[0xC0, 0x80],             // U+0000 in two bytes
            &[0xE0, 0x80, 0xAF],       // '/' in three bytes
            &[0xF0, 0x80, 0x80, 0xAF], // '/' in four bytes
            &[0xF4, 0x90, 0x80, 0x80], // above U+10FFFF
            &[0x80],
            &[b'a', 0xE2, 0x82],
            &[0xFF],
        ] {
            assert_eq!(validate_utf8(bytes), Err(DecodeErrorKind::InvalidUtf8), "{bytes:02x?}");
        }
    }

    #[test]
    #[cfg_attr(false, shows("5.0:1.5.4-2", "3.1.1:1.5.3-2"))]
    fn only_the_nul_character_is_refused_among_control_characters() {
        assert_eq!(validate_utf8(b"a\0b"), Err(DecodeErrorKind::NulCharacter));
        for code in (1..=0x1F).chain(0x7F..=0x9F) {
            let text = char::from_u32(code).expect("a control character").to_string();
            assert_eq!(validate_utf8(text.as_bytes()), Ok(text.as_str()), "U+{code:04X}");
        }
    }

    #[test]
    #[cfg_attr(false, shows("5.0:1.5.4-3", "3.1.1:1.5.3-3"))]
    fn a_byte_order_mark_and_non_characters_stay() {
        for text in ["\u{FEFF}a", "\u{FFFE}", "\u{1FFFF}", "\u{FDD0}", "\u{10FFFF}"] {
            assert_eq!(validate_utf8(text.as_bytes()), Ok(text));
        }
    }
}
