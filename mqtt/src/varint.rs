//! The Variable Byte Integer (MQTT 5.0, 1.5.5): seven bits a byte, least significant first, at most four bytes.

use crate::error::DecodeErrorKind;

/// The largest value of a Variable Byte Integer.
pub const MAX_VARINT: u32 = 268_435_455;

/// A decoded Variable Byte Integer and the number of bytes it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Varint {
    /// The value, at most [`MAX_VARINT`].
    pub value: u32,
    /// How many bytes stood for it, 1 to 4.
    pub encoded_bytes: u8,
}

/// Decodes the Variable Byte Integer at the start of `bytes`; `None` when more bytes are needed.
///
/// # Errors
/// [`DecodeErrorKind::VarintOverlong`] when the fourth byte announces a fifth, and
/// [`DecodeErrorKind::VarintNotMinimal`] when fewer bytes would have done (`[MQTT-1.5.5-1]`).
#[inline]
pub fn decode_varint(bytes: &[u8]) -> Result<Option<Varint>, DecodeErrorKind> {
    let mut value = 0_u32;
    for (index, encoded_bytes) in (0..4).zip(1_u8..) {
        let Some(&byte) = bytes.get(index) else { return Ok(None) };
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            // A last byte of zero adds nothing, so that the same value fits the bytes before it.
            if byte == 0 && index > 0 {
                return Err(DecodeErrorKind::VarintNotMinimal);
            }
            return Ok(Some(Varint { value, encoded_bytes }));
        }
    }
    Err(DecodeErrorKind::VarintOverlong)
}

/// Returns how many bytes [`encode_varint`] needs for `value`, or `None` above [`MAX_VARINT`].
#[inline]
#[must_use]
pub const fn varint_bytes(value: u32) -> Option<u8> {
    match value {
        0..=0x7F => Some(1),
        0x80..=0x3FFF => Some(2),
        0x4000..=0x001F_FFFF => Some(3),
        0x0020_0000..=MAX_VARINT => Some(4),
        _ => None,
    }
}

/// Encodes `value` into the start of the returned array; the second part says how many bytes of it count.
///
/// Returns `None` above [`MAX_VARINT`].
#[inline]
#[must_use]
pub fn encode_varint(value: u32) -> Option<([u8; 4], u8)> {
    let count = varint_bytes(value)?;
    let mut bytes = [0_u8; 4];
    let mut rest = value;
    for (index, byte) in (1..=count).zip(&mut bytes) {
        // Masked to seven bits, so that the cast keeps the value.
        let low = (rest & 0x7F) as u8;
        rest >>= 7;
        *byte = if index < count { low | 0x80 } else { low };
    }
    Some((bytes, count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The algorithm as section 1.5.5 gives it, without the check for minimal length.
    fn decode_as_the_specification_does(bytes: &[u8]) -> Option<Result<(u32, usize), ()>> {
        let mut multiplier = 1_u64;
        let mut value = 0_u64;
        for (index, byte) in bytes.iter().enumerate() {
            value += u64::from(byte & 127) * multiplier;
            if multiplier > 128 * 128 * 128 {
                return Some(Err(()));
            }
            multiplier *= 128;
            if byte & 128 == 0 {
                return Some(Ok((u32::try_from(value).expect("four times seven bits"), index + 1)));
            }
        }
        None
    }

    #[test]
    fn the_limits_of_each_length_are_those_of_table_1_1() {
        for (value, encoded) in [
            (0, &[0x00][..]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xFF, 0xFF, 0x7F]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (268_435_455, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ] {
            let (bytes, count) = encode_varint(value).expect("in range");
            assert_eq!(&bytes[..usize::from(count)], encoded);
            let decoded = decode_varint(encoded).expect("valid").expect("complete");
            assert_eq!((decoded.value, decoded.encoded_bytes), (value, count));
        }
        assert_eq!(encode_varint(MAX_VARINT + 1), None);
        assert_eq!(varint_bytes(u32::MAX), None);
    }

    #[test]
    fn a_fifth_byte_is_refused_before_it_arrives() {
        assert_eq!(decode_varint(&[0xFF, 0xFF, 0xFF]), Ok(None));
        assert_eq!(
            decode_varint(&[0xFF, 0xFF, 0xFF, 0xFF]),
            Err(DecodeErrorKind::VarintOverlong)
        );
        assert_eq!(
            decode_varint(&[0x80, 0x80, 0x80, 0x80, 0x01]),
            Err(DecodeErrorKind::VarintOverlong)
        );
    }

    #[test]
    #[cfg_attr(false, shows("5.0:1.5.5-1"))]
    fn more_bytes_than_needed_are_refused() {
        for bytes in [
            &[0x80, 0x00][..],
            &[0xFF, 0x00],
            &[0x80, 0x80, 0x00],
            &[0xFF, 0xFF, 0xFF, 0x00],
        ] {
            assert_eq!(
                decode_varint(bytes),
                Err(DecodeErrorKind::VarintNotMinimal),
                "{bytes:02x?}"
            );
        }
    }

    proptest! {
        #[test]
        #[cfg_attr(false, shows("5.0:1.5.5-1"))]
        fn decoding_returns_what_was_encoded(value in 0..=MAX_VARINT) {
            let (bytes, count) = encode_varint(value).expect("in range");
            let decoded = decode_varint(&bytes[..usize::from(count)]).expect("valid").expect("complete");
            prop_assert_eq!((decoded.value, decoded.encoded_bytes), (value, count));
            for shorter in 0..usize::from(count) {
                prop_assert_eq!(decode_varint(&bytes[..shorter]), Ok(None));
            }
        }

        #[test]
        fn any_bytes_decode_as_the_specification_says(bytes in prop::collection::vec(any::<u8>(), 0..6)) {
            match (decode_varint(&bytes), decode_as_the_specification_does(&bytes)) {
                (Ok(Some(ours)), Some(Ok((value, count)))) => {
                    prop_assert_eq!((ours.value, usize::from(ours.encoded_bytes)), (value, count));
                }
                (Err(DecodeErrorKind::VarintNotMinimal), Some(Ok((value, count)))) => {
                    prop_assert!(usize::from(varint_bytes(value).expect("in range")) < count);
                }
                // The fourth byte tells; the algorithm of the specification looks at the fifth.
                (Err(DecodeErrorKind::VarintOverlong), Some(Err(())) | None) => {
                    prop_assert!(bytes.len() >= 4 && bytes[..4].iter().all(|byte| byte & 0x80 != 0));
                }
                (Ok(None), None) => {}
                (ours, theirs) => prop_assert!(false, "{ours:?} differs from {theirs:?}"),
            }
        }
    }
}
