//! The chart lints, renders to what is checked in, and refuses the values that it should refuse.

use anyhow::Result;

use super::{Verdict, generated::compare, source_tree::SourceTree};
use crate::{
    generate::{ChartCases, Helm, golden_path},
    steps::{Ending, Interrupt},
};

/// Runs all cases of `charts/tests`.
pub(super) async fn check_chart(tree: &SourceTree, interrupt: &mut Interrupt) -> Result<Verdict> {
    let helm = Helm::ensure().await?;
    let cases = ChartCases::read()?;
    let mut findings = Vec::new();
    for values in &cases.rendered {
        let lint = helm.lint(values, interrupt).await?;
        if lint.ending != Ending::Passed {
            findings.push(format!("helm lint --strict, {values}:\n{}{}", lint.stdout, lint.stderr));
        }
        let rendered = helm.template(values, interrupt).await?;
        if rendered.ending != Ending::Passed {
            findings.push(format!("helm template, {values}:\n{}", rendered.stderr));
            continue;
        }
        let golden = golden_path(values);
        findings.extend(compare(tree.text(&golden), &rendered.stdout, &golden));
    }
    for refusal in &cases.refused {
        let rendered = helm.template(&refusal.values, interrupt).await?;
        if rendered.ending == Ending::Passed {
            findings.push(format!("{}: was accepted", refusal.values));
        } else if !rendered.stderr.contains(&refusal.words) {
            findings.push(format!(
                "{}: was refused without `{}`:\n{}",
                refusal.values, refusal.words, rendered.stderr
            ));
        }
    }
    let detail = format!("{} rendered, {} refused", cases.rendered.len(), cases.refused.len());
    Ok(Verdict::of(findings, detail))
}
