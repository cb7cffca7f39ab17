//! Generated files are what `make generate` would write now.

use std::time::Duration;

use anyhow::Result;

use super::{Verdict, source_tree::SourceTree};
use crate::{
    generate, paths,
    steps::{Ending, Interrupt, Invocation, capture},
};

/// Compiles the storage contract's test when the cache is cold.
const TEST_TIMEOUT: Duration = Duration::from_secs(20 * 60);

/// Builds all generated files in memory and compares.
pub(super) async fn check_generated(tree: &SourceTree, interrupt: &mut Interrupt) -> Result<Verdict> {
    let all = generate::build_sources(tree, interrupt).await?;
    let mut findings: Vec<String> = all
        .iter()
        .filter_map(|generated| compare(tree.text(&generated.path), &generated.content, &generated.path))
        .collect();
    findings.extend(check_protobuf(interrupt).await?);
    Ok(Verdict::of(
        findings,
        format!("{} files and the protobuf code", all.len()),
    ))
}

/// Code made of protobuf files has tests of its own, which know its generators.
async fn check_protobuf(interrupt: &mut Interrupt) -> Result<Option<String>> {
    let test = Invocation::cargo()
        .args([
            "test",
            "--release",
            "--locked",
            "--quiet",
            "--workspace",
            "--test",
            "generated_code",
            "--test",
            "generated_load",
        ])
        .dir(paths::repository_root());
    let captured = capture(&test, TEST_TIMEOUT, interrupt).await?;
    Ok((captured.ending != Ending::Passed).then(|| format!("`{test}`:\n{}{}", captured.stdout, captured.stderr)))
}

/// Says where two texts part.
pub(super) fn compare(present: Option<&str>, expected: &str, path: &str) -> Option<String> {
    let Some(present) = present else {
        return Some(format!("{path} is missing: run `make generate`"));
    };
    if present == expected {
        return None;
    }
    let line = 1 + present
        .lines()
        .zip(expected.lines())
        .take_while(|(a, b)| a == b)
        .count();
    let at = |text: &str| {
        text.lines()
            .nth(line - 1)
            .map_or_else(|| "the end".to_owned(), |line| format!("`{}`", line.trim()))
    };
    Some(format!(
        "{path}:{line}: has {}, would be {}: run `make generate` and look at the difference",
        at(present),
        at(expected)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_named() {
        let finding = compare(Some("a\nb\n"), "a\nc\n", "x.yaml").unwrap();
        assert!(finding.starts_with("x.yaml:2: has `b`, would be `c`"), "{finding}");
        assert!(compare(Some("a\n"), "a\nb\n", "x").unwrap().contains("has the end"));
    }

    #[test]
    fn equal_files_say_nothing_and_missing_ones_do() {
        assert_eq!(compare(Some("a"), "a", "x"), None);
        assert!(compare(None, "a", "x").is_some());
    }
}
