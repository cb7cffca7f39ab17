//! Reads the chart's `values.yaml`: the one place that says which values there are, of what type, and why.
//!
//! A value is a key with a comment above it that begins with `# -- (TYPE)`, followed by prose; a key without one is a
//! group. The chart's schema and its README are made from what this returns.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::read as read_file;

/// The chart's values.
pub(super) const PATH: &str = "charts/freshet/values.yaml";
const MARK: &str = "# -- (";
const INDENT: usize = 2;

/// One documented value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ChartValue {
    /// Keys from the root, such as `["image", "proxy", "tag"]`.
    pub(super) path: Vec<String>,
    /// What stands in parentheses: see [`super::values_schema`] for the types there are.
    pub(super) type_name: String,
    pub(super) description: String,
    pub(super) default: Value,
}

/// Reads and checks the file.
///
/// # Errors
/// When it is no YAML, or a value has no comment or no type.
pub(super) fn read(path: &Path) -> Result<Vec<ChartValue>> {
    parse(&read_file(path)?).with_context(|| PATH.to_owned())
}

fn parse(text: &str) -> Result<Vec<ChartValue>> {
    let defaults: Value = serde_saphyr::from_str(text).context("is no YAML")?;
    let mut values: Vec<ChartValue> = Vec::new();
    let mut groups: Vec<String> = Vec::new();
    let mut comment = String::new();
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.trim_start();
        if code.starts_with('#') {
            read_comment(code, &mut comment);
            continue;
        }
        if code.is_empty() {
            comment.clear();
            continue;
        }
        let depth = (line.len() - code.len()) / INDENT;
        let Some((key, inline)) = code.split_once(':') else {
            // Part of the default of the value above.
            continue;
        };
        if depth > groups.len() || is_inside_value(&values, &groups, depth) {
            continue;
        }
        groups.truncate(depth);
        groups.push(key.to_owned());
        let text = std::mem::take(&mut comment);
        if let Some((type_name, description)) = text.strip_prefix('(').and_then(|text| text.split_once(") ")) {
            let pointer = format!("/{}", groups.join("/"));
            values.push(ChartValue {
                path: groups.clone(),
                type_name: type_name.to_owned(),
                description: description.to_owned(),
                default: defaults.pointer(&pointer).cloned().unwrap_or(Value::Null),
            });
        } else if !inline.trim().is_empty() {
            bail!("line {number}: `{}` has no comment `{MARK}TYPE) …`", groups.join("."));
        }
    }
    Ok(values)
}

/// Gathers a comment that begins with the mark; other comments are for readers of the file alone.
fn read_comment(line: &str, comment: &mut String) {
    if let Some(start) = line.strip_prefix("# -- ") {
        start.clone_into(comment);
    } else if !comment.is_empty() {
        comment.push(' ');
        comment.push_str(line.trim_start_matches('#').trim());
    }
}

/// Whether a line of this depth belongs to the default of the value last read.
fn is_inside_value(values: &[ChartValue], groups: &[String], depth: usize) -> bool {
    values
        .last()
        .is_some_and(|last| last.path.as_slice() == groups && depth >= last.path.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
# A head for readers.

image:
  # -- (string) Where it is.
  # In two lines.
  repository: a/b
# -- (resources) What it gets.
resources:
  limits:
    memory: 1Gi
# -- (list of string) Which.
names: []
";

    #[test]
    fn values_carry_their_path_type_text_and_default() {
        let values = parse(SAMPLE).unwrap();
        let paths: Vec<String> = values.iter().map(|value| value.path.join(".")).collect();
        assert_eq!(paths, ["image.repository", "resources", "names"]);
        assert_eq!(values[0].description, "Where it is. In two lines.");
        assert_eq!(values[0].default, "a/b");
        assert_eq!(values[1].type_name, "resources");
        assert_eq!(values[1].default["limits"]["memory"], "1Gi");
        assert_eq!(values[2].type_name, "list of string");
    }

    #[test]
    fn a_value_without_a_type_is_refused_by_name() {
        let error = parse("a:\n  # Just a remark.\n  b: 1\n").unwrap_err();
        assert!(error.to_string().contains("`a.b`"), "{error}");
    }
}
