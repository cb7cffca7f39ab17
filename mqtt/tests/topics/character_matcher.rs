//! A second matcher, written from section 4.7 without levels: it walks along the characters. What it says of a valid
//! filter and a valid name is compared with the real matcher, by the property tests and by a fuzz target.

/// Whether the filter, without the prefix of a shared subscription, matches the name.
pub fn matches_by_characters(filter: &str, name: &str) -> bool {
    let is_wildcard = |byte: Option<&u8>| matches!(byte, Some(b'#' | b'+'));
    if name.as_bytes().first() == Some(&b'$') && is_wildcard(filter.as_bytes().first()) {
        return false;
    }
    let (mut filter, mut name) = (filter.as_bytes(), name.as_bytes());
    loop {
        match (filter, name) {
            // Everything from here on, and the parent of it.
            ([b'#'], _) | ([b'/', b'#'], []) | ([], []) => return true,
            ([b'+', rest @ ..], [byte, ..]) if *byte == b'/' => filter = rest,
            ([b'+', rest @ ..], []) => filter = rest,
            ([b'+', ..], [_, rest @ ..]) => name = rest,
            ([expected, filter_rest @ ..], [byte, name_rest @ ..]) if expected == byte => {
                (filter, name) = (filter_rest, name_rest);
            }
            _ => return false,
        }
    }
}
