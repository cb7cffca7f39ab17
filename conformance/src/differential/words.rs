//! The words of a packet as scripts write it: separated by blanks, with quoted text and `key=value`.

use anyhow::{Context as _, bail};

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// `"text"`
    Text(String),
    /// `key=value`
    Pair(String, String),
    /// `#1` or `#A`
    Id(String),
    /// `0x87`
    Code(u8),
    /// Anything else.
    Plain(String),
}

/// Characters that nobody sees, and how scripts write them.
const ESCAPES: [(&str, &str); 2] = [("\\uFEFF", "\u{FEFF}"), ("\\u0001", "\u{1}")];

/// Puts what is meant in place of what is written: `own` for each `%`, and characters that nobody sees.
pub(crate) fn meant(written: &str, own: &str) -> String {
    let replace = |text: String, (written, meant): (&str, &str)| text.replace(written, meant);
    ESCAPES.into_iter().fold(written.replace('%', own), replace)
}

/// The other way.
pub(crate) fn written(meant: &str, own: &str) -> String {
    let replace = |text: String, (written, meant): (&str, &str)| text.replace(meant, written);
    ESCAPES.into_iter().fold(meant.replace(own, "%"), replace)
}

/// Splits a packet, with `own` in place of each `%`.
///
/// # Errors
/// When a text does not end, or a code is no number.
pub(crate) fn split(packet: &str, own: &str) -> anyhow::Result<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = packet.trim_start();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (text, behind) = quoted.split_once('"').context("a text without its end")?;
            words.push(Word::Text(text.to_owned()));
            rest = behind.trim_start();
            continue;
        }
        let (word, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        words.push(word_of(&meant(word, own))?);
        rest = behind.trim_start();
    }
    Ok(words)
}

fn word_of(word: &str) -> anyhow::Result<Word> {
    if let Some(id) = word
        .strip_prefix('#')
        .filter(|id| !id.is_empty() && !id.starts_with('/'))
    {
        return Ok(Word::Id(id.to_owned()));
    }
    if let Some(digits) = word.strip_prefix("0x") {
        return match u8::from_str_radix(digits, 16) {
            Ok(code) => Ok(Word::Code(code)),
            Err(_) => bail!("`{word}` is no code"),
        };
    }
    Ok(match word.split_once('=') {
        Some((key, value)) => Word::Pair(key.to_owned(), value.to_owned()),
        None => Word::Plain(word.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_split_into_its_words() {
        let words = split("PUBLISH #1 %/a q1 sid=3 0x87 \"a b\" #", "~own").unwrap();
        let plain = |word: &str| Word::Plain(word.to_owned());
        assert_eq!(
            words,
            [
                plain("PUBLISH"),
                Word::Id("1".to_owned()),
                plain("~own/a"),
                plain("q1"),
                Word::Pair("sid".to_owned(), "3".to_owned()),
                Word::Code(0x87),
                Word::Text("a b".to_owned()),
                plain("#"),
            ]
        );
    }

    #[test]
    fn what_nobody_sees_is_written_out() {
        assert_eq!(written(&meant("%/\\uFEFF", "~a"), "~a"), "%/\\uFEFF");
        assert_eq!(meant("%/\\u0001", "~a"), "~a/\u{1}");
    }

    #[test]
    fn a_text_that_does_not_end_is_refused() {
        assert!(split("PUBLISH \"a", "").is_err());
    }
}
