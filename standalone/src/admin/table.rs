//! Text in columns, and numbers as people read them.

use std::fmt::Write as _;

/// Room between columns.
const GAP: usize = 3;

/// Rows below a head. Columns whose head ends in `>` stand to the right.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    heads: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table without rows.
    pub(super) fn new(heads: [&'static str; N]) -> Self {
        Self {
            heads,
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| plain(&cell)));
    }

    /// Its lines.
    pub(super) fn finish(&self) -> String {
        let heads = self.heads.map(|head| head.trim_end_matches('>').to_owned());
        let mut widths = [0; N];
        for row in std::iter::once(&heads).chain(&self.rows) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut out = String::new();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::new();
            for (at, ((cell, head), &width)) in row.iter().zip(self.heads).zip(&widths).enumerate() {
                let gap = if at == 0 { 0 } else { GAP };
                // Writing into a string does not fail.
                let _ = if head.ends_with('>') {
                    write!(line, "{:gap$}{cell:>width$}", "")
                } else {
                    write!(line, "{:gap$}{cell:width$}", "")
                };
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Text that leaves the terminal as it is: clients choose their ids and topics.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() {
            out.extend(char.escape_default());
        } else {
            out.push(char);
        }
    }
    out
}

/// A time that has passed or will.
pub(super) fn duration(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{s}s"),
        60..3_600 => format!("{}m{:02}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h{:02}m", s / 3_600, s / 60 % 60),
        _ => format!("{}d{:02}h", s / 86_400, s / 3_600 % 24),
    }
}

/// A number of bytes.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let (mut rest, mut unit) = (bytes as f64 / 1_024.0, 0);
    while rest >= 1_024.0 && unit + 1 < UNITS.len() {
        rest /= 1_024.0;
        unit += 1;
    }
    format!("{rest:.1} {}", UNITS[unit])
}

/// A value, or a sign that there is none.
pub(super) fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them_and_numbers_stand_to_the_right() {
        let mut table = Table::new(["NAME", "COUNT>", "LAST"]);
        table.row(["é".to_owned(), "7".to_owned(), String::new()]);
        table.row(["longer".to_owned(), "1234567".to_owned(), "x".to_owned()]);
        assert_eq!(
            table.finish(),
            "NAME       COUNT   LAST\né              7\nlonger   1234567   x\n"
        );
    }

    #[test]
    fn what_clients_choose_does_not_command_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n\u{9b}c é"), "a\\u{1b}[2Jb\\n\\u{9b}c é");
    }

    #[test]
    fn times_and_bytes_are_short() {
        let times = [
            (0, "0ms"),
            (999, "999ms"),
            (59_999, "59s"),
            (61_000, "1m01s"),
            (3_660_000, "1h01m"),
        ];
        for (ms, text) in times {
            assert_eq!(duration(ms), text);
        }
        assert_eq!(duration(90_000_000), "1d01h");
        for (count, text) in [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (3 << 30, "3.0 GiB")] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }
}
