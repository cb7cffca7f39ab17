//! The documented metrics are those that the processes have.
//!
//! Names are read from the source files in which each process registers or encodes its metrics, and from the tables of
//! `docs/operations.md`. Leaves out labels and meanings: those a reader has to check.

use std::collections::BTreeSet;

use super::{Verdict, source_tree::SourceTree};

pub(super) const DOCUMENT: &str = "docs/operations.md";
/// Beginning of the names of a process's metrics, and where they are registered.
const COMPONENTS: [(&str, &str); 3] = [
    ("freshet_operator_", "operator/src/metrics"),
    ("freshet_proxy_", "proxy/src/metrics"),
    ("freshet_storage_", "storage-node/src/metrics"),
];
/// Calls whose first argument is a name.
const CALLS: [&str; 12] = [
    ".register(",
    ".gauge(",
    ".gauges(",
    ".gauges_by(",
    ".gauges_by_shard(",
    ".counter(",
    ".counters(",
    ".counters_by(",
    ".counters_by_shard(",
    ".histogram(",
    ".info(",
    ".encode_descriptor(",
];
/// What the text format appends to a registered name.
const ENDINGS: [&str; 2] = ["_total", "_info"];

/// Compares the names.
pub(super) fn check_metrics(tree: &SourceTree) -> Verdict {
    let Some(document) = tree.text(DOCUMENT) else {
        return Verdict::Findings(vec![format!("{DOCUMENT} is missing")]);
    };
    let mut findings = Vec::new();
    let mut count = 0;
    for (prefix, folder) in COMPONENTS {
        let present = registered(tree, prefix, folder);
        let documented = documented(document, prefix);
        if present.is_empty() {
            findings.push(format!("{folder}: no metrics were found"));
        }
        count += present.len();
        let missing = present.difference(&documented);
        findings.extend(missing.map(|name| format!("{DOCUMENT} does not have `{name}` of {folder}")));
        let stale = documented.difference(&present);
        findings.extend(stale.map(|name| format!("{DOCUMENT} has `{name}`, which {folder} does not")));
    }
    Verdict::of(findings, format!("{count} metrics"))
}

/// Names in `FOLDER.rs` and the files of `FOLDER/`.
fn registered(tree: &SourceTree, prefix: &str, folder: &str) -> BTreeSet<String> {
    let (file, inside) = (format!("{folder}.rs"), format!("{folder}/"));
    let mut names = BTreeSet::new();
    for (_, text) in tree
        .texts_ending(".rs")
        .filter(|(name, _)| *name == file || name.starts_with(&inside))
    {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for call in CALLS {
            for (at, _) in code.match_indices(call) {
                names.extend(first_literal(&code[at + call.len()..]).map(|name| format!("{prefix}{name}")));
            }
        }
    }
    names
}

/// The string literal that an argument list begins with.
fn first_literal(arguments: &str) -> Option<&str> {
    arguments.trim_start().strip_prefix('"')?.split('"').next()
}

/// Names in back quotes, without labels and endings.
fn documented(document: &str, prefix: &str) -> BTreeSet<String> {
    documented_series(document)
        .filter(|name| name.starts_with(prefix))
        .map(|name| {
            ENDINGS
                .iter()
                .find_map(|ending| name.strip_suffix(ending))
                .unwrap_or(name)
                .to_owned()
        })
        .collect()
}

/// Names in back quotes, without labels, as they are scraped.
pub(super) fn documented_series(document: &str) -> impl Iterator<Item = &str> {
    document
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| COMPONENTS.iter().any(|(prefix, _)| code.starts_with(prefix)))
        .filter_map(|code| code.split(['{', ' ', '=']).next())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCES: [(&str, &str); 3] = [
        ("operator/src/metrics.rs", "//! M.\nr.register(\"leader\", \"x\", g);\n"),
        (
            "proxy/src/metrics/encode.rs",
            "//! M.\ne.counters(\n    \"disconnects\", 1)?;\n",
        ),
        (
            "storage-node/src/metrics.rs",
            "//! M.\nr.register(\"build\", \"x\", i);\n",
        ),
    ];

    fn check(document: &str) -> Verdict {
        let mut files = SOURCES.to_vec();
        files.push((DOCUMENT, document));
        check_metrics(&SourceTree::of(&files))
    }

    #[test]
    fn all_documented_is_clean_whatever_the_endings() {
        let document =
            "`freshet_operator_leader` `freshet_proxy_disconnects_total{reason}` `freshet_storage_build_info`";
        assert_eq!(check(document), Verdict::Clean("3 metrics".to_owned()));
    }

    #[test]
    fn a_missing_and_a_stale_name_are_found() {
        let document = "`freshet_operator_leader` `freshet_proxy_connects_total` `freshet_storage_build_info`";
        let Verdict::Findings(findings) = check(document) else {
            panic!("nothing was found");
        };
        assert_eq!(findings.len(), 2, "{findings:?}");
    }
}
