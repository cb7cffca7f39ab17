//! What a start of Freshet has read of its disk, as its log says.

use std::path::Path;

use anyhow::Context as _;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reads {
    /// Of the last checkpoint.
    pub(super) rows: u64,
    /// Of the log behind it.
    pub(super) records: u64,
    took_ms: u64,
}

impl Reads {
    /// Of the last start.
    ///
    /// # Errors
    /// When the log says nothing of it.
    pub(super) fn find(log: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(log)?;
        Self::parse(&text).context("the log does not say what the start has read")
    }

    /// Rows and records in a second.
    // Exact below 2^53.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn per_second(self) -> f64 {
        (self.rows + self.records) as f64 * 1e3 / self.took_ms as f64
    }

    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().rev().find(|line| line.contains("the disk was read"))?;
        let number = |name: &str| {
            // `rows=5` in text, `"rows":5` in JSON.
            let rest = line.split_once(name)?.1.trim_start_matches(['"', ':', '=']);
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse().ok()
        };
        Some(Self {
            rows: number("rows")?,
            records: number("records")?,
            took_ms: number("took_ms")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Reads;

    #[test]
    fn both_forms_of_the_log_are_read_and_the_last_start_counts() {
        let text = "INFO the disk was read rows=1 records=1 torn_bytes=0 took_ms=1\n\
                    INFO the disk was read rows=900 records=100 torn_bytes=0 took_ms=2\nINFO other\n";
        let json =
            r#"{"level":"INFO","message":"the disk was read","rows":900,"records":100,"torn_bytes":0,"took_ms":2}"#;
        let expected = Reads {
            rows: 900,
            records: 100,
            took_ms: 2,
        };
        assert_eq!(Reads::parse(text), Some(expected));
        assert_eq!(Reads::parse(json), Some(expected));
        assert!((expected.per_second() - 500_000.0).abs() < 1e-6);
        assert_eq!(Reads::parse("nothing"), None);
    }
}
