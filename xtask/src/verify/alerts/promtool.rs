//! Prometheus' own judgement: the rules parse, the dashboard's queries parse, and each alert does as its tests expect.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::json;

use super::{RuleFile, TESTS, queries::Query};
use crate::{
    steps::{Ending, Interrupt, Invocation, capture},
    tools,
    verify::source_tree::SourceTree,
};

const TIMEOUT: Duration = Duration::from_secs(120);
/// What is installed.
const INSTALLED: &str = "installed.yaml";
/// The name under which tests ask for the rules.
const TESTED: &str = "alerts.yaml";
/// The dashboard's queries, as rules that record them.
const SHOWN: &str = "dashboard.yaml";

/// Runs promtool in a folder of its own.
pub(super) async fn judge(
    rules: &RuleFile,
    queries: &[Query],
    tree: &SourceTree,
    interrupt: &mut Interrupt,
) -> Result<Vec<String>> {
    let program = tools::promtool::ensure(interrupt).await?;
    let folder = std::env::temp_dir().join(format!("freshet-alerts-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let findings = judge_in(&folder, &program, rules, queries, tree, interrupt).await;
    fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    findings
}

async fn judge_in(
    folder: &Path,
    program: &Path,
    rules: &RuleFile,
    queries: &[Query],
    tree: &SourceTree,
    interrupt: &mut Interrupt,
) -> Result<Vec<String>> {
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).with_context(|| format!("writing {name}"));
    // JSON is YAML.
    write(INSTALLED, &serde_json::to_string(rules)?)?;
    write(TESTED, &serde_json::to_string(&with_summaries_only(rules))?)?;
    let recorded: Vec<_> = queries
        .iter()
        .map(|query| json!({"record": format!("dashboard:panel_{}", query.id), "expr": query.expr}))
        .collect();
    write(
        SHOWN,
        &json!({"groups": [{"name": "dashboard", "rules": recorded}]}).to_string(),
    )?;
    let mut tests = Vec::new();
    for (path, text) in tree.texts() {
        if let Some(name) = path.strip_prefix(TESTS) {
            write(name, text)?;
            tests.push(name);
        }
    }
    anyhow::ensure!(!tests.is_empty(), "there are no tests in {TESTS}");
    let check = ["check", "rules", "--lint=all", "--lint-fatal", INSTALLED, SHOWN];
    let test = ["test", "rules"].into_iter().chain(tests);
    let mut findings = Vec::new();
    for arguments in [check.to_vec(), test.collect()] {
        let promtool = Invocation::new(program).args(arguments).dir(folder);
        let captured = capture(&promtool, TIMEOUT, interrupt).await?;
        if captured.ending != Ending::Passed {
            findings.push(format!("`{promtool}`:\n{}{}", captured.stdout, captured.stderr));
        }
    }
    Ok(findings)
}

/// The rules as tests see them: promtool compares all annotations, and to repeat each description shows nothing.
fn with_summaries_only(rules: &RuleFile) -> RuleFile {
    let mut rules = rules.clone();
    for alert in rules.groups.iter_mut().flat_map(|group| &mut group.rules) {
        alert.annotations.retain(|name, _| name == "summary");
    }
    rules
}
