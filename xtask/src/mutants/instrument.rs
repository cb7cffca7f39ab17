//! Writes all mutants of a file into its text, each behind a question that is answered at run time.
//!
//! `a < b` becomes `(if crate::__mutant(7) { (a <= b) } else { (a < b) })`. What a mutant changes stands in its branch as it
//! was in the source, without other mutants: only one is switched on. Places inside one another therefore add up and do not
//! multiply.

use std::{cmp::Reverse, collections::BTreeMap, fmt::Write, ops::Range};

use super::places::Place;

/// The mutants of one place, with what stands there then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) place: Place,
    pub(super) mutants: BTreeMap<u32, String>,
}

/// A file with its mutants.
#[derive(Debug, Default)]
pub(super) struct Instrumented {
    pub(super) text: String,
    /// What is there for one mutant alone, in bytes of `text`.
    marks: Vec<(Range<usize>, u32)>,
    /// Where something was put in: at which byte of the source, and which bytes of `text` it is.
    insertions: Vec<(usize, Range<usize>)>,
}

impl Instrumented {
    /// The mutant of which this byte is.
    pub(super) fn mutant_at(&self, byte: usize) -> Option<u32> {
        let mark = self.marks.iter().find(|(range, _)| range.contains(&byte));
        mark.map(|(_, number)| *number)
    }

    /// Where a byte of the text is in the source.
    pub(super) fn in_source(&self, byte: usize) -> usize {
        let mut inserted = 0_usize;
        for (at, range) in &self.insertions {
            if byte < range.start {
                break;
            }
            if byte < range.end {
                return *at;
            }
            inserted += range.len();
        }
        byte.saturating_sub(inserted)
    }
}

impl Site {
    /// What of the source the place is about.
    pub(super) fn source(&self) -> Range<usize> {
        match &self.place {
            Place::Return { at } | Place::Arm { pattern_end: at } => *at..*at,
            Place::Iterator { body: range } | Place::Expression { whole: range } | Place::Guard { guard: range } => {
                range.clone()
            }
        }
    }

    /// Of places with the same source the one with the lowest is around the others.
    fn rank(&self) -> u8 {
        match &self.place {
            Place::Return { .. } | Place::Iterator { .. } => 0,
            Place::Guard { .. } => 1,
            Place::Arm { .. } | Place::Expression { .. } => 2,
        }
    }
}

/// Text to put in, with what of it is there for one mutant alone.
#[derive(Debug, Default)]
struct Piece {
    text: String,
    marks: Vec<(Range<usize>, u32)>,
}

impl Piece {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// A question, and text of the mutant that it asks for.
    fn of_mutant(&mut self, before: &str, number: u32, after: &str) {
        let start = self.text.len();
        // Writing to a string does not fail.
        let _ = write!(self.text, "{before}crate::__mutant({number}){after}");
        self.marks.push((start..self.text.len(), number));
    }
}

/// In which order pieces at one byte come.
type Order = (usize, bool, Reverse<usize>, u8);

/// Writes the sites into a text, and something before and behind all of it.
pub(super) fn write(source: &str, sites: &[Site], head: &str, tail: &str) -> Instrumented {
    let mut pieces: Vec<(Order, Piece)> = Vec::new();
    for site in sites.iter().filter(|site| !site.mutants.is_empty()) {
        let (before, after) = around(site);
        let range = site.source();
        // What begins at a byte comes behind what ends there, and the outer one first. What is only put in is around all
        // that begins there.
        let end = if range.is_empty() { usize::MAX } else { range.end };
        pieces.push(((range.start, true, Reverse(end), site.rank()), before));
        if !range.is_empty() {
            pieces.push(((range.end, false, Reverse(range.start), u8::MAX - site.rank()), after));
        }
    }
    pieces.sort_by_key(|(order, _)| *order);
    let mut written = Instrumented {
        text: head.to_owned(),
        marks: Vec::new(),
        insertions: vec![(0, 0..head.len())],
    };
    let mut copied = 0;
    for ((at, ..), piece) in pieces {
        written.text.push_str(source.get(copied..at).unwrap_or_default());
        copied = at;
        let start = written.text.len();
        written.text.push_str(&piece.text);
        let marks = piece.marks.into_iter();
        written
            .marks
            .extend(marks.map(|(mark, number)| (start + mark.start..start + mark.end, number)));
        written.insertions.push((at, start..written.text.len()));
    }
    written.text.push_str(source.get(copied..).unwrap_or_default());
    written
        .insertions
        .push((source.len(), written.text.len()..written.text.len() + tail.len()));
    written.text.push_str(tail);
    written
}

/// What comes before a place and behind it.
fn around(site: &Site) -> (Piece, Piece) {
    let (mut before, mut after) = (Piece::default(), Piece::default());
    match &site.place {
        Place::Return { .. } => {
            for (number, text) in &site.mutants {
                before.of_mutant("if ", *number, &format!(" {{ return {text}; }} "));
            }
        }
        Place::Iterator { .. } => {
            for (number, text) in &site.mutants {
                before.of_mutant("if ", *number, &format!(" {{ crate::__MutantOr::Mutant({text}) }} "));
                before.push("else { crate::__MutantOr::Original({ ");
                after.push(" }) }");
            }
        }
        Place::Expression { .. } => {
            before.push("(");
            for (number, text) in &site.mutants {
                before.of_mutant("if ", *number, &format!(" {{ ({text}) }} "));
                before.push("else ");
            }
            before.push("{ (");
            after.push(") })");
        }
        Place::Arm { .. } => {
            for number in site.mutants.keys() {
                before.of_mutant(" if !", *number, "");
            }
        }
        Place::Guard { .. } => {
            before.push("(");
            for number in site
                .mutants
                .iter()
                .filter(|(_, text)| *text == "true")
                .map(|(number, _)| number)
            {
                before.of_mutant("", *number, " || ");
            }
            before.push("(");
            after.push("))");
            for number in site
                .mutants
                .iter()
                .filter(|(_, text)| *text != "true")
                .map(|(number, _)| number)
            {
                after.of_mutant(" && !", *number, "");
            }
        }
    }
    (before, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(place: Place, mutants: &[(u32, &str)]) -> Site {
        let mutants = mutants.iter().map(|(number, text)| (*number, (*text).to_owned()));
        Site {
            place,
            mutants: mutants.collect(),
        }
    }

    #[test]
    fn an_expression_inside_another_stands_in_it_once_as_it_is_switched() {
        let source = "f(a < b && !c)";
        let written = write(
            source,
            &[
                site(Place::Expression { whole: 2..13 }, &[(1, "a < b || !c")]),
                site(Place::Expression { whole: 2..7 }, &[(2, "a > b")]),
                site(Place::Expression { whole: 11..13 }, &[(3, "c")]),
            ],
            "",
            "",
        );
        assert_eq!(
            written.text,
            "f((if crate::__mutant(1) { (a < b || !c) } else { (\
             (if crate::__mutant(2) { (a > b) } else { (a < b) }) && \
             (if crate::__mutant(3) { (c) } else { (!c) })) }))"
        );
    }

    #[test]
    fn a_byte_of_what_is_written_is_of_a_mutant_or_of_the_source() {
        let source = "x + y";
        let written = write(
            source,
            &[site(Place::Expression { whole: 0..5 }, &[(4, "x - y"), (5, "x * y")])],
            "//!\n",
            "// end",
        );
        let minus = written.text.find('-').unwrap();
        let plus = written.text.find('+').unwrap();
        assert_eq!(written.mutant_at(minus), Some(4));
        assert_eq!(written.mutant_at(written.text.find('*').unwrap()), Some(5));
        assert_eq!(written.mutant_at(plus), None);
        assert_eq!(written.in_source(plus), 2);
        assert_eq!(written.in_source(minus), 0);
    }

    #[test]
    fn arms_and_their_conditions_are_switched_where_they_stand() {
        let source = "A => 1, B if g => 2";
        let written = write(
            source,
            &[
                site(Place::Arm { pattern_end: 1 }, &[(1, "")]),
                site(Place::Guard { guard: 13..14 }, &[(2, "true"), (3, "false")]),
            ],
            "",
            "",
        );
        assert_eq!(
            written.text,
            "A if !crate::__mutant(1) => 1, B if (crate::__mutant(2) || (g)) && !crate::__mutant(3) => 2"
        );
    }

    #[test]
    fn a_function_returns_before_it_does_anything() {
        let source = "{ a == b }";
        let written = write(
            source,
            &[
                site(Place::Expression { whole: 2..8 }, &[(3, "a != b")]),
                site(Place::Return { at: 2 }, &[(1, "true"), (2, "false")]),
            ],
            "",
            "",
        );
        assert_eq!(
            written.text,
            "{ if crate::__mutant(1) { return true; } if crate::__mutant(2) { return false; } \
             (if crate::__mutant(3) { (a != b) } else { (a == b) }) }"
        );
    }

    #[test]
    fn an_iterator_is_one_type_with_and_without_mutant() {
        let written = write(
            "{ x }",
            &[site(Place::Iterator { body: 2..3 }, &[(9, "::std::iter::empty()")])],
            "",
            "",
        );
        assert_eq!(
            written.text,
            "{ if crate::__mutant(9) { crate::__MutantOr::Mutant(::std::iter::empty()) } \
             else { crate::__MutantOr::Original({ x }) } }"
        );
    }
}
