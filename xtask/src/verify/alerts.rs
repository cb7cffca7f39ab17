//! Alerts fire when they should and not otherwise, have a page for whoever is woken, and ask for metrics that there are; so
//! does the dashboard.
//!
//! What the chart renders is what is checked. Whether an alert fires is Prometheus' own judgement, by `charts/tests/alerts`.

mod promtool;
mod queries;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Verdict, source_tree::SourceTree};
use crate::{
    generate::{DASHBOARD, Helm},
    steps::Interrupt,
};

const TEMPLATE: &str = "templates/prometheusrule.yaml";
const RUNBOOKS: &str = "docs/runbooks/";
const TESTS: &str = "charts/tests/alerts/";
/// What a page says, in this order.
const HEADINGS: [&str; 5] = [
    "What it means",
    "What clients feel",
    "How to look",
    "What to do",
    "When it goes away by itself",
];
const SEVERITIES: [&str; 2] = ["critical", "warning"];
const ANNOTATIONS: [&str; 3] = ["description", "runbook_url", "summary"];

/// What the chart installs.
#[derive(Debug, Deserialize)]
struct Rendered {
    spec: RuleFile,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Alert>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Alert {
    #[serde(rename = "alert")]
    name: String,
    expr: String,
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pending: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

/// The part of a file of tests that says what is tested.
#[derive(Debug, Deserialize)]
struct TestFile {
    tests: Vec<Test>,
}

#[derive(Debug, Deserialize)]
struct Test {
    alert_rule_test: Vec<Expectation>,
}

#[derive(Debug, Deserialize)]
struct Expectation {
    alertname: String,
    exp_alerts: Vec<Value>,
}

/// Checks the alerts, their pages and tests, and the dashboard.
pub(super) async fn check_alerts(tree: &SourceTree, interrupt: &mut Interrupt) -> Result<Verdict> {
    let rendered = Helm::ensure()
        .await?
        .render_one(TEMPLATE, "alerts.enabled", interrupt)
        .await?;
    let rendered: Rendered = serde_saphyr::from_str(&rendered).context(TEMPLATE)?;
    let rules = rendered.spec;
    let queries = queries::of_dashboard(
        tree.text(DASHBOARD)
            .with_context(|| format!("{DASHBOARD} is missing"))?,
    )?;
    let alerts: Vec<&Alert> = rules.groups.iter().flat_map(|group| &group.rules).collect();

    let mut findings: Vec<String> = alerts.iter().flat_map(|alert| judge_alert(alert)).collect();
    findings.extend(judge_pages(&alerts, tree));
    findings.extend(judge_tests(&alerts, tree)?);
    let asked = alerts.iter().map(|alert| (alert.name.as_str(), alert.expr.as_str()));
    let shown = queries.iter().map(|query| (query.panel.as_str(), query.expr.as_str()));
    findings.extend(queries::judge(asked.chain(shown), tree));
    findings.extend(promtool::judge(&rules, &queries, tree, interrupt).await?);
    let detail = format!("{} alerts, {} queries of the dashboard", alerts.len(), queries.len());
    Ok(Verdict::of(findings, detail))
}

/// Labels and annotations.
fn judge_alert(alert: &Alert) -> Vec<String> {
    let mut findings = Vec::new();
    let name = &alert.name;
    let severity = alert.labels.get("severity").map(String::as_str).unwrap_or_default();
    if !SEVERITIES.contains(&severity) || alert.labels.len() != 1 {
        findings.push(format!("{name}: its labels are not one `severity` of {SEVERITIES:?}"));
    }
    if !alert.annotations.keys().map(String::as_str).eq(ANNOTATIONS) {
        findings.push(format!("{name}: its annotations are not {ANNOTATIONS:?}"));
    }
    if alert.annotations.get("runbook_url") != Some(&format!("{RUNBOOKS}{name}.md")) {
        findings.push(format!("{name}: `runbook_url` does not lead to its page"));
    }
    findings
}

/// A page for each alert, an alert for each page, and the same headings in all.
fn judge_pages(alerts: &[&Alert], tree: &SourceTree) -> Vec<String> {
    let pages: BTreeMap<&str, &str> = tree
        .texts_ending(".md")
        .filter_map(|(path, text)| Some((path.strip_prefix(RUNBOOKS)?.strip_suffix(".md")?, text)))
        .collect();
    let mut findings = Vec::new();
    for alert in alerts {
        match pages.get(alert.name.as_str()) {
            None => findings.push(format!("{RUNBOOKS}{}.md is missing", alert.name)),
            Some(page) => {
                let found: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
                let title = page.lines().next().and_then(|line| line.strip_prefix("# "));
                if title != Some(alert.name.as_str()) || found != HEADINGS {
                    findings.push(format!(
                        "{RUNBOOKS}{}.md: not its name and the headings {HEADINGS:?}",
                        alert.name
                    ));
                }
            }
        }
    }
    let named: BTreeSet<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    let stale = pages.keys().filter(|page| !named.contains(*page));
    findings.extend(stale.map(|page| format!("{RUNBOOKS}{page}.md: there is no such alert")));
    findings
}

/// Each alert is expected at some time, and expected not to fire at another.
fn judge_tests(alerts: &[&Alert], tree: &SourceTree) -> Result<Vec<String>> {
    let mut fires = BTreeSet::new();
    let mut is_quiet = BTreeSet::new();
    for (path, text) in tree
        .texts_ending(".test.yaml")
        .filter(|(path, _)| path.starts_with(TESTS))
    {
        let file: TestFile = serde_saphyr::from_str(text).with_context(|| path.to_owned())?;
        for expectation in file.tests.into_iter().flat_map(|test| test.alert_rule_test) {
            let seen = if expectation.exp_alerts.is_empty() {
                &mut is_quiet
            } else {
                &mut fires
            };
            seen.insert(expectation.alertname);
        }
    }
    let mut findings = Vec::new();
    for alert in alerts {
        if !fires.contains(&alert.name) {
            findings.push(format!("{TESTS}: nothing shows that {} fires", alert.name));
        }
        if !is_quiet.contains(&alert.name) {
            findings.push(format!("{TESTS}: nothing shows that {} can be quiet", alert.name));
        }
    }
    // An alert that does not exist is quiet, to promtool.
    let unknown = fires
        .union(&is_quiet)
        .filter(|name| alerts.iter().all(|alert| alert.name != **name));
    findings.extend(unknown.map(|name| format!("{TESTS}: there is no alert {name}")));
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(name: &str) -> Alert {
        let texts = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
                .collect()
        };
        let page = format!("{RUNBOOKS}{name}.md");
        Alert {
            name: name.to_owned(),
            expr: "up == 0".to_owned(),
            pending: None,
            labels: texts(&[("severity", "critical")]),
            annotations: texts(&[("summary", "s"), ("description", "d"), ("runbook_url", &page)]),
        }
    }

    fn page(title: &str) -> String {
        let headings: String = HEADINGS
            .iter()
            .map(|heading| format!("\n## {heading}\n\nText.\n"))
            .collect();
        format!("# {title}\n{headings}")
    }

    #[test]
    fn an_alert_without_a_severity_or_a_link_is_found() {
        assert_eq!(judge_alert(&alert("A")), [""; 0]);
        let mut wrong = alert("A");
        wrong.labels.clear();
        wrong.annotations.remove("runbook_url");
        assert_eq!(judge_alert(&wrong).len(), 3);
    }

    #[test]
    fn pages_without_alert_and_alerts_without_page_are_found() {
        let alerts = [alert("A"), alert("B"), alert("C")];
        let alerts: Vec<&Alert> = alerts.iter().collect();
        let (a, b) = (page("A"), page("B").replace("What to do", "Do"));
        let tree = SourceTree::of(&[
            ("docs/runbooks/A.md", a.as_str()),
            ("docs/runbooks/B.md", b.as_str()),
            ("docs/runbooks/D.md", a.as_str()),
        ]);
        let findings = judge_pages(&alerts, &tree);
        assert_eq!(findings.len(), 3, "{findings:?}");
        assert!(findings[0].contains("B.md: not its name"), "{findings:?}");
        assert!(findings[1].contains("C.md is missing"), "{findings:?}");
        assert!(findings[2].contains("D.md: there is no such alert"), "{findings:?}");
    }

    #[test]
    fn an_alert_is_to_be_tested_both_ways_and_by_its_name() {
        let (a, b) = (alert("A"), alert("B"));
        let tests = "tests:\n- alert_rule_test:\n  - {alertname: A, eval_time: 1m, exp_alerts: []}\n  \
                     - {alertname: A, eval_time: 2m, exp_alerts: [{exp_labels: {}}]}\n  \
                     - {alertname: b, eval_time: 1m, exp_alerts: []}\n";
        let tree = SourceTree::of(&[("charts/tests/alerts/x.test.yaml", tests)]);
        let findings = judge_tests(&[&a, &b], &tree).unwrap();
        assert_eq!(findings.len(), 3, "{findings:?}");
        assert!(findings.iter().all(|finding| !finding.contains(" A")), "{findings:?}");
    }
}
