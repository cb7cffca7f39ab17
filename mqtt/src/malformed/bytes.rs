//! The notation of bytes in the table: hexadecimal pairs, quoted text, and groups behind their length.

use std::iter::Peekable;
use std::str::Chars;

use crate::varint::encode_varint;

/// Reads a whole column.
pub(super) fn parse(text: &str) -> Result<Vec<u8>, String> {
    let mut chars = text.chars().peekable();
    let bytes = parse_until(&mut chars, None)?;
    if bytes.is_empty() {
        Err("no bytes".to_owned())
    } else {
        Ok(bytes)
    }
}

/// Reads until `end`, or to the end of the column.
fn parse_until(chars: &mut Peekable<Chars<'_>>, end: Option<char>) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(char) = chars.next() {
        match char {
            ' ' => {}
            '"' => {
                let text: String = chars.take_while(|char| *char != '"').collect();
                bytes.extend_from_slice(text.as_bytes());
            }
            '{' => {
                let group = parse_until(chars, Some('}'))?;
                let (length, count) = u32::try_from(group.len())
                    .ok()
                    .and_then(encode_varint)
                    .ok_or("a group is too long")?;
                bytes.extend(length.iter().take(usize::from(count)));
                bytes.extend(group);
            }
            '(' => {
                let group = parse_until(chars, Some(')'))?;
                bytes.extend(
                    u16::try_from(group.len())
                        .map_err(|_| "a group is too long")?
                        .to_be_bytes(),
                );
                bytes.extend(group);
            }
            _ if Some(char) == end => return Ok(bytes),
            _ => {
                let low = chars.next().and_then(|low| low.to_digit(16));
                let pair = char.to_digit(16).zip(low).map(|(high, low)| high * 16 + low);
                bytes.push(
                    pair.and_then(|pair| u8::try_from(pair).ok())
                        .ok_or(format!("no byte at `{char}`"))?,
                );
            }
        }
    }
    match end {
        None => Ok(bytes),
        Some(end) => Err(format!("a group without `{end}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn groups_are_written_behind_their_length() {
        assert_eq!(
            parse("30 { (\"a/b\") 00 fF }"),
            Ok(b"\x30\x07\x00\x03a/b\x00\xFF".to_vec())
        );
        assert_eq!(parse("{ { } ( ) }"), Ok(vec![3, 0, 0, 0]));
    }

    #[test]
    fn what_is_no_byte_is_refused() {
        for text in ["", "3", "{", "( 30", "}", "zz", "30 }"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
