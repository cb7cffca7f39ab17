//! The rows of the table of malformed input that name a statement. Each is run through the decoder, through a worker,
//! and over sockets.

/// Where the table is. Its head describes its format.
pub(super) const PATH: &str = "mqtt/testdata/malformed.txt";

/// A row that names a statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// From 1.
    pub(super) line: usize,
    pub(super) name: String,
    /// As tests write it: `5.0:3.1.0-1`.
    pub(super) statement: String,
}

/// Returns the rows that name a statement rather than a section.
pub(super) fn read(table: &str) -> Vec<Row> {
    (1..)
        .zip(table.lines())
        .filter(|(_, row)| !row.trim_start().starts_with('#'))
        .filter_map(|(line, row)| {
            let mut columns = row.split('|').map(str::trim);
            let version = match columns.next()? {
                "5" => "5.0",
                version => version,
            };
            let name = columns.nth(2)?;
            let number = columns.next()?.strip_prefix("MQTT-")?;
            Some(Row {
                line,
                name: name.to_owned(),
                statement: format!("{version}:{number}"),
            })
        })
        .collect()
}
