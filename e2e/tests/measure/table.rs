//! What a case has measured: rows of one Markdown table, and the raw samples as CSV beside it.
//!
//! A row takes the place of an earlier one of its key, and leaves the others: cases can be run one by one.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use freshet_bench_load::machine_busy_seconds;

/// Where results are written; the checkout's own folder without it.
const ENV_RESULTS: &str = "FRESHET_MEASURE_RESULTS";
const TABLE: &str = "kubernetes.md";
const SAMPLES: &str = "kubernetes";

const HEAD: &str = "# On a real Kubernetes\n\n\
    Written by `xtask measure`. What the rows are of: [docs/scaling.md](../../docs/scaling.md#on-the-real-kubernetes).\n\
    Raw samples are in `kubernetes/`. `busy` is how many of the machine's CPUs were at work meanwhile.\n\n\
    | row | what | n | P50 | P99 | max | goal | met | busy | notes |\n\
    | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";

/// A row's place: its number in the list of what is measured, and its part.
pub(crate) type Key = (u8, u8);

/// What samples come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figures {
    pub(crate) n: usize,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Figures {
    /// Of samples in any order; not a number where there are none.
    pub(crate) fn of(samples: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |permille: usize| {
            let rank = (sorted.len() * permille).div_ceil(1_000);
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
        };
        Self {
            n: sorted.len(),
            p50: at(500),
            p99: at(990),
            max: at(1_000),
        }
    }
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    key: Key,
    what: String,
    figures: Figures,
    unit: &'static str,
    goal: String,
    is_met: Option<bool>,
    notes: Vec<String>,
}

impl Row {
    /// A row without a goal.
    pub(crate) fn new(key: Key, what: impl Into<String>, unit: &'static str, figures: Figures) -> Self {
        Self {
            key,
            what: what.into(),
            figures,
            unit,
            goal: String::new(),
            is_met: None,
            notes: Vec::new(),
        }
    }

    /// What it should have come to, and whether it did.
    pub(crate) fn goal(mut self, goal: impl Into<String>, is_met: impl FnOnce(&Figures) -> bool) -> Self {
        self.goal = goal.into();
        self.is_met = Some(is_met(&self.figures));
        self
    }

    /// What a reader has to know beside the figures.
    pub(crate) fn note(mut self, note: impl Display) -> Self {
        self.notes.push(note.to_string());
        self
    }

    fn line(&self, busy: &str) -> String {
        let value = |value: f64| {
            if value.is_nan() {
                "-".to_owned()
            } else {
                format!("{} {}", rounded(value), self.unit)
            }
        };
        let met = match self.is_met {
            None => "-",
            Some(true) => "yes",
            Some(false) => "**no**",
        };
        let (number, part) = self.key;
        let Figures { n, p50, p99, max } = self.figures;
        format!(
            "| {number}.{part} | {} | {n} | {} | {} | {} | {} | {met} | {busy} | {} |",
            self.what,
            value(p50),
            value(p99),
            value(max),
            self.goal,
            self.notes.join("; "),
        )
    }
}

/// Three digits are what a machine repeats.
fn rounded(value: f64) -> String {
    if value == 0.0 || value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// One case: the rows that it writes are of the time since it began.
pub(crate) struct Sheet {
    folder: PathBuf,
    began: Instant,
    busy_seconds: f64,
}

impl Sheet {
    pub(crate) fn begin() -> Result<Self> {
        let folder = std::env::var_os(ENV_RESULTS).map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/results"),
            PathBuf::from,
        );
        Ok(Self {
            folder,
            began: Instant::now(),
            busy_seconds: machine_busy_seconds()?,
        })
    }

    /// Prints rows, and puts them into the table.
    pub(crate) fn write(&self, rows: &[Row]) -> Result<()> {
        let busy = (machine_busy_seconds()? - self.busy_seconds) / self.began.elapsed().as_secs_f64();
        let busy = format!("{busy:.1} of {}", std::thread::available_parallelism()?);
        fs::create_dir_all(&self.folder)?;
        let path = self.folder.join(TABLE);
        let mut lines = lines_of(&fs::read_to_string(&path).unwrap_or_default());
        for row in rows {
            let line = row.line(&busy);
            println!("{line}");
            lines.insert(row.key, line);
        }
        let mut text = HEAD.to_owned();
        for line in lines.values() {
            writeln!(text, "{line}")?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Writes the raw samples of a row: names of the columns, and a line for each sample.
    pub(crate) fn write_samples<R>(
        &self,
        name: &str,
        columns: &[&str],
        lines: impl IntoIterator<Item = R>,
    ) -> Result<()>
    where
        R: IntoIterator<Item = String>,
    {
        let folder = self.folder.join(SAMPLES);
        fs::create_dir_all(&folder)?;
        let mut text = columns.join(",");
        text.push('\n');
        for line in lines {
            let cells: Vec<String> = line.into_iter().collect();
            writeln!(text, "{}", cells.join(","))?;
        }
        let path = folder.join(format!("{name}.csv"));
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The rows of a table that was written before.
fn lines_of(text: &str) -> BTreeMap<Key, String> {
    let key = |line: &str| {
        let (number, part) = line.strip_prefix("| ")?.split_once(' ')?.0.split_once('.')?;
        Some((number.parse().ok()?, part.parse().ok()?))
    };
    let rows = text.lines().filter_map(|line| Some((key(line)?, line.to_owned())));
    rows.collect()
}

/// Milliseconds of a duration, as samples have them.
pub(crate) fn ms(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[test]
fn a_row_replaces_the_one_of_its_key_and_leaves_the_others() {
    let folder = std::env::temp_dir().join(format!("freshet-measure-{}", std::process::id()));
    let sheet = Sheet {
        folder: folder.clone(),
        began: Instant::now(),
        busy_seconds: 0.0,
    };
    let row = |key, sample: f64| {
        Row::new(key, "what", "ms", Figures::of([sample])).goal("at most 5 ms", |figures| figures.max <= 5.0)
    };
    sheet.write(&[row((10, 1), 4.0), row((2, 1), 7.0)]).unwrap();
    sheet.write(&[row((2, 1), 3.0)]).unwrap();
    let text = fs::read_to_string(folder.join(TABLE)).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let rows: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("| 2.1")).collect();
    assert!(
        rows.len() == 2 && rows[0].contains("| 3.00 ms |") && rows[0].contains("| yes |"),
        "{text}"
    );
    assert!(rows[1].starts_with("| 10.1 | what | 1 | 4.00 ms"), "{text}");
}

#[test]
fn percentiles_are_samples() {
    let figures = Figures::of((1..=200).rev().map(f64::from));
    assert_eq!(
        (figures.n, figures.p50, figures.p99, figures.max),
        (200, 100.0, 198.0, 200.0)
    );
    assert!(Figures::of([]).p50.is_nan());
}
