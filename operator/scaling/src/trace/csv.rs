//! Traces as CSV: a header, then one row for each time. An empty cell is a missing sample.

use std::fmt::Write;
use std::time::Duration;

use thiserror::Error;

use super::{SIGNALS, Trace, TraceRow};

/// The first line of a trace.
pub const HEADER: &str = "time_s,connections,connects_per_s,publishes_in_per_s,deliveries_out_per_s,round_trip_p99_ms";

/// The longest time that a trace may name: beyond it a number of seconds is a mistake. The year 5138.
const MAX_TIME_S: f64 = 1e11;

/// Something in a trace that cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}, column {column}{}: {kind}", name_of(*column))]
pub struct TraceError {
    /// Counted from 1, which is the header.
    pub line: usize,
    /// Counted from 1, which is the time.
    pub column: usize,
    /// What it is.
    pub kind: TraceErrorKind,
}

/// What cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TraceErrorKind {
    /// The header is another one.
    #[error("the header must be `{HEADER}`, and has `{0}` here")]
    Header(String),
    /// More or fewer cells than the header has.
    #[error("the row has {0} cells, and the header has 6")]
    Cells(usize),
    /// Not a number, or none that a measurement can be.
    #[error("`{0}` is not a number from 0 up")]
    Number(String),
    /// A row without a time.
    #[error("a row needs a time")]
    NoTime,
    /// A time that is not after the one before.
    #[error("time {0} is not after the one before")]
    Order(String),
    /// Too few rows.
    #[error("a trace needs at least two rows")]
    TooShort,
}

fn name_of(column: usize) -> String {
    let name = column.checked_sub(1).and_then(|index| HEADER.split(',').nth(index));
    name.map(|name| format!(" ({name})")).unwrap_or_default()
}

/// Reads a trace.
///
/// # Errors
/// The first [`TraceError`] of the text.
pub fn parse_trace(text: &str) -> Result<Trace, TraceError> {
    let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    let (_, header) = lines.next().unwrap_or_default();
    check_header(header)?;
    let mut rows: Vec<TraceRow> = Vec::new();
    let mut count = 1;
    for (index, line) in lines {
        count = index + 1;
        if line.trim().is_empty() {
            continue;
        }
        let row = parse_row(line, count)?;
        if rows.last().is_some_and(|last| last.at >= row.at) {
            let time = line.split(',').next().unwrap_or_default().trim().to_owned();
            return Err(error(count, 1, TraceErrorKind::Order(time)));
        }
        rows.push(row);
    }
    if rows.len() < 2 {
        return Err(error(count, 1, TraceErrorKind::TooShort));
    }
    Ok(Trace { rows })
}

fn error(line: usize, column: usize, kind: TraceErrorKind) -> TraceError {
    TraceError { line, column, kind }
}

fn check_header(header: &str) -> Result<(), TraceError> {
    let cells: Vec<&str> = header.split(',').map(str::trim).collect();
    for (index, name) in HEADER.split(',').enumerate() {
        let found = cells.get(index).copied().unwrap_or_default();
        if found != name {
            return Err(error(1, index + 1, TraceErrorKind::Header(found.to_owned())));
        }
    }
    match cells.get(6) {
        Some(more) => Err(error(1, 7, TraceErrorKind::Header((*more).to_owned()))),
        None => Ok(()),
    }
}

fn parse_row(line: &str, number: usize) -> Result<TraceRow, TraceError> {
    let mut row = TraceRow::default();
    let mut cells = 0;
    for (index, cell) in line.split(',').map(str::trim).enumerate() {
        cells = index + 1;
        let value = parse_cell(cell).map_err(|kind| error(number, cells, kind))?;
        match index {
            0 => {
                let time = value.ok_or_else(|| error(number, 1, TraceErrorKind::NoTime))?;
                let in_range = Some(time).filter(|time| *time <= MAX_TIME_S);
                let time = in_range.ok_or_else(|| error(number, 1, TraceErrorKind::Number(cell.to_owned())))?;
                row.at = Duration::from_secs_f64(time);
            }
            1..=4 => row.values[SIGNALS[index - 1]] = value,
            5 => row.round_trip_p99_ms = value,
            _ => {}
        }
    }
    if cells == 6 {
        Ok(row)
    } else {
        Err(error(number, cells.min(7), TraceErrorKind::Cells(cells)))
    }
}

fn parse_cell(cell: &str) -> Result<Option<f64>, TraceErrorKind> {
    if cell.is_empty() {
        return Ok(None);
    }
    let value: Option<f64> = cell.parse().ok();
    value
        .filter(|value| value.is_finite() && *value >= 0.0)
        .map(Some)
        .ok_or_else(|| TraceErrorKind::Number(cell.to_owned()))
}

/// Appends the header with its line end.
pub fn write_header(out: &mut String) {
    out.push_str(HEADER);
    out.push('\n');
}

/// Appends a row with its line end. Counts and rates have one digit after the point at most.
pub fn write_row(out: &mut String, row: &TraceRow) {
    write_number(out, row.at.as_secs_f64());
    for value in SIGNALS
        .map(|signal| row.values[signal])
        .into_iter()
        .chain([row.round_trip_p99_ms])
    {
        out.push(',');
        if let Some(value) = value {
            write_number(out, value);
        }
    }
    out.push('\n');
}

fn write_number(out: &mut String, value: f64) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{}", (value * 10.0).round() / 10.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Signal;

    fn trace(rows: &str) -> Result<Trace, String> {
        parse_trace(&format!("{HEADER}\n{rows}")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_cell_is_a_missing_sample() {
        let trace = trace("0,100,1,2,3,4\n10,,1,,3,\n").expect("a trace");
        let row = trace.rows[1];
        assert_eq!(row.values[Signal::Connections], None);
        assert_eq!(row.values[Signal::ConnectsPerSecond], Some(1.0));
        assert_eq!(row.round_trip_p99_ms, None);
        assert_eq!(trace.step(0), Duration::from_secs(10));
        assert_eq!(trace.step(1), Duration::from_secs(10));
    }

    #[test]
    fn errors_name_line_and_column() {
        for (rows, expected) in [
            (
                "0,1,1,1,1,1\n10,1,x,1,1,1\n",
                "line 3, column 3 (connects_per_s): `x` is not a number from 0 up",
            ),
            (
                "0,1,1,1,-1,1\n",
                "line 2, column 5 (deliveries_out_per_s): `-1` is not a number from 0 up",
            ),
            (
                "0,1,1,1,1,1\n0,1,1,1,1,1\n",
                "line 3, column 1 (time_s): time 0 is not after the one before",
            ),
            (",1,1,1,1,1\n", "line 2, column 1 (time_s): a row needs a time"),
            (
                "0,1,1\n",
                "line 2, column 3 (connects_per_s): the row has 3 cells, and the header has 6",
            ),
            (
                "0,1,1,1,1,1,1\n",
                "line 2, column 7: the row has 7 cells, and the header has 6",
            ),
            (
                "1e300,1,1,1,1,1\n",
                "line 2, column 1 (time_s): `1e300` is not a number from 0 up",
            ),
            (
                "0,inf,1,1,1,1\n",
                "line 2, column 2 (connections): `inf` is not a number from 0 up",
            ),
            (
                "0,1,1,1,1,1\n",
                "line 2, column 1 (time_s): a trace needs at least two rows",
            ),
        ] {
            assert_eq!(trace(rows), Err(expected.to_owned()));
        }
        let error = parse_trace("time_s,clients\n").expect_err("another header").to_string();
        assert!(
            error.starts_with("line 1, column 2 (connections): the header must be"),
            "{error}"
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        let rows = "1767571200,100,1.5,2,3,4\n1767571210,,1,,3,\n";
        let trace = trace(rows).expect("a trace");
        let mut written = String::new();
        for row in &trace.rows {
            write_row(&mut written, row);
        }
        assert_eq!(written, rows);
    }
}
