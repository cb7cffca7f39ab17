//! What alerts and the dashboard ask Prometheus for: metrics that are documented, and words of labels that the code says.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use super::super::{
    metrics::{DOCUMENT, documented_series},
    source_tree::SourceTree,
};
use crate::generate::DASHBOARD;

/// Metrics of others: Prometheus' own, and those of the kubelet.
const FOREIGN: [&str; 3] = [
    "up",
    "container_memory_working_set_bytes",
    "container_spec_memory_limit_bytes",
];
/// Labels whose words the code says.
const LABELS: [&str; 4] = ["reason", "result", "role", "scope"];
/// What the text format appends to the name of a histogram.
const HISTOGRAM: [&str; 3] = ["_bucket", "_count", "_sum"];
/// What Grafana puts in, and what stands for it when somebody else reads the query.
const VARIABLES: [(&str, &str); 1] = [("$__rate_interval", "5m")];

/// A query of the dashboard, as Prometheus gets it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// Title of its panel.
    pub(super) panel: String,
    /// Id of the panel and name of the query in it.
    pub(super) id: String,
    pub(super) expr: String,
}

/// The queries of all panels.
pub(super) fn of_dashboard(text: &str) -> Result<Vec<Query>> {
    let dashboard: Value = serde_json::from_str(text).context(DASHBOARD)?;
    let panels = dashboard["panels"].as_array().context("a dashboard without panels")?;
    let mut ids = BTreeSet::new();
    let mut queries = Vec::new();
    for panel in panels {
        let id = panel["id"].as_u64().context("a panel without id")?;
        anyhow::ensure!(ids.insert(id), "{DASHBOARD}: two panels have the id {id}");
        let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        for target in targets {
            let expr = target["expr"].as_str().context("a query without expression")?;
            let expr = VARIABLES
                .iter()
                .fold(expr.to_owned(), |expr, (variable, value)| expr.replace(variable, value));
            queries.push(Query {
                panel: panel["title"].as_str().unwrap_or_default().to_owned(),
                id: format!("{id}_{}", target["refId"].as_str().unwrap_or_default()),
                expr,
            });
        }
    }
    Ok(queries)
}

/// Judges queries, each with a name for people.
pub(super) fn judge<'a>(queries: impl Iterator<Item = (&'a str, &'a str)>, tree: &SourceTree) -> Vec<String> {
    let known: BTreeSet<&str> = tree
        .text(DOCUMENT)
        .map(documented_series)
        .into_iter()
        .flatten()
        .collect();
    let mut findings = Vec::new();
    for (name, query) in queries {
        for metric in metrics_of(query) {
            let base = HISTOGRAM.iter().find_map(|ending| metric.strip_suffix(ending));
            let is_known = FOREIGN.contains(&metric)
                || known.contains(metric)
                || base.is_some_and(|base| base.ends_with("_seconds") && known.contains(base));
            if !is_known {
                findings.push(format!("{name}: {DOCUMENT} has no metric `{metric}`"));
            }
        }
        for (label, word) in words_of(query) {
            if !is_said(word, tree) {
                findings.push(format!("{name}: no code says `{label}=\"{word}\"`"));
            }
        }
    }
    findings
}

/// Names of series: what a selector or a range stands behind, and whatever is called like a metric of ours.
fn metrics_of(query: &str) -> Vec<&str> {
    let mut metrics = Vec::new();
    // Every other piece is a text in quotes.
    for piece in query.split('"').step_by(2) {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let mut rest = piece;
        while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic()) {
            let after = &rest[start..];
            let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
            let (name, next) = after.split_at(end);
            if name.starts_with("freshet_") || next.starts_with(['{', '[']) {
                metrics.push(name);
            }
            rest = next;
        }
    }
    metrics
}

/// Labels and the words that they are compared with.
fn words_of(query: &str) -> Vec<(&str, &str)> {
    let mut words = Vec::new();
    let pieces: Vec<&str> = query.split('"').collect();
    for pair in pieces.chunks_exact(2) {
        let [before, text] = pair else { continue };
        let before = before.trim_end_matches(['=', '~', '!']);
        if let Some(label) = LABELS.iter().find(|label| {
            before
                .strip_suffix(**label)
                .is_some_and(|rest| rest.ends_with(['{', ',']))
        }) {
            words.extend(text.split('|').map(|word| (*label, word)));
        }
    }
    words
}

/// Whether a source file of a product has the word as a text of its own.
fn is_said(word: &str, tree: &SourceTree) -> bool {
    let literal = format!("\"{word}\"");
    tree.texts_ending(".rs")
        .filter(|(path, _)| !path.starts_with("xtask/") && !path.contains("tests"))
        .any(|(_, text)| text.contains(&literal))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = "sum by (reason) (rate(freshet_proxy_shed_total{reason=~\"slow|full\",role!=\"warm\"}[5m])) > 0 \
                         unless up{job=\"freshet_x\"} and freshet_proxy_turn_seconds_bucket";

    fn tree(document: &str) -> SourceTree {
        SourceTree::of(&[
            (DOCUMENT, document),
            ("proxy/src/a.rs", "//! A.\n(\"slow\", \"full\");\n"),
            ("operator/src/a.rs", "//! A.\nconst WARM: &str = \"warm\";\n"),
        ])
    }

    #[test]
    fn series_and_words_are_found_and_texts_are_no_series() {
        assert_eq!(
            metrics_of(QUERY),
            ["freshet_proxy_shed_total", "up", "freshet_proxy_turn_seconds_bucket"]
        );
        assert_eq!(
            words_of(QUERY),
            [("reason", "slow"), ("reason", "full"), ("role", "warm")]
        );
    }

    #[test]
    fn what_is_documented_and_said_is_clean() {
        let tree = tree("`freshet_proxy_shed_total{reason}` `freshet_proxy_turn_seconds`");
        assert_eq!(judge([("a", QUERY)].into_iter(), &tree), [""; 0]);
    }

    #[test]
    fn an_ending_that_is_not_there_and_a_word_that_nobody_says_are_found() {
        let tree = tree("`freshet_proxy_shed{reason}` `freshet_proxy_turn_seconds`");
        let query = "rate(freshet_proxy_shed_total{reason=\"quick\"}[5m]) + elsewhere{a=\"b\"}";
        let findings = judge([("a", query)].into_iter(), &tree);
        assert_eq!(findings.len(), 3, "{findings:?}");
    }

    #[test]
    fn two_panels_of_one_id_are_refused() {
        let panel =
            "{\"id\": 1, \"title\": \"a\", \"targets\": [{\"refId\": \"A\", \"expr\": \"rate(x[$__rate_interval])\"}]}";
        let queries = of_dashboard(&format!("{{\"panels\": [{panel}]}}")).unwrap();
        assert_eq!(queries[0].expr, "rate(x[5m])");
        assert_eq!(queries[0].id, "1_A");
        assert!(of_dashboard(&format!("{{\"panels\": [{panel}, {panel}]}}")).is_err());
    }
}
