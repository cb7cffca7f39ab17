//! Cores are pure: no runtime, no I/O, no clock and no randomness, in their manifests or in their code.
//!
//! Two looks at each of them. Its normal dependencies, as cargo resolves them for that crate alone, name nothing that
//! does I/O or reads a clock, and the direct ones are on a list, so that a new one is a decision. And its code outside
//! of tests names no part of the standard library that reaches out of the process.

use std::time::Duration;

use anyhow::Result;

use super::{Verdict, source_tree::SourceTree};
use crate::{
    paths,
    steps::{Interrupt, Invocation, output_of},
};

/// One crate that stays pure.
struct PureCrate {
    name: &'static str,
    folder: &'static str,
    /// Normal dependencies that its manifest may name, besides other pure crates.
    allowed: &'static [&'static str],
}

/// Every pure crate of the workspace.
const PURE_CRATES: [PureCrate; 9] = [
    PureCrate {
        name: "freshet-mqtt",
        folder: "mqtt",
        allowed: &["bytes", "memchr"],
    },
    PureCrate {
        name: "freshet-config",
        folder: "config",
        allowed: &["serde"],
    },
    PureCrate {
        name: "freshet-storage-contract",
        folder: "storage-api/core",
        allowed: &["bytes", "foldhash", "siphasher", "thiserror"],
    },
    PureCrate {
        name: "freshet-storage-core",
        folder: "storage-node/core",
        allowed: &["bytes", "foldhash", "hashbrown", "serde", "slab", "thiserror"],
    },
    PureCrate {
        name: "freshet-proxy-core",
        folder: "proxy/core",
        allowed: &["bytes", "foldhash", "hashbrown", "siphasher", "slab", "thiserror"],
    },
    PureCrate {
        name: "freshet-load",
        folder: "proxy/load",
        allowed: &["prost", "thiserror"],
    },
    PureCrate {
        name: "freshet-operator-api",
        folder: "operator/api",
        allowed: &[
            "k8s-openapi",
            "kube-core",
            "kube-derive",
            "schemars",
            "serde",
            "serde_json",
        ],
    },
    PureCrate {
        name: "freshet-operator-core",
        folder: "operator/core",
        allowed: &["k8s-openapi", "kube-core", "serde", "serde_json", "sha2", "thiserror"],
    },
    PureCrate {
        name: "freshet-scaling",
        folder: "operator/scaling",
        allowed: &["croner", "jiff", "serde", "serde_json", "thiserror"],
    },
];

/// Crates that wait, talk, persist, or ask the system for time or randomness. Not among the normal dependencies of a
/// pure crate, however far down.
const IMPURE_CRATES: [&str; 22] = [
    "async-std",
    "axum",
    "fastrand",
    "getrandom",
    "h2",
    "hyper",
    "io-uring",
    "kube",
    "kube-client",
    "kube-runtime",
    "mio",
    "nix",
    "openraft",
    "polling",
    "rand",
    "rand_core",
    "reqwest",
    "rocksdb",
    "rustls",
    "socket2",
    "tokio",
    "tonic",
];

/// What code of a pure crate does not name outside of tests.
const IMPURE_PATHS: [&str; 17] = [
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "TimeZone::system",
    "SystemTime",
    "std::fs",
    "std::io::",
    "std::net::Tcp",
    "std::net::Udp",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "thread::sleep",
    "println!",
    "eprintln!",
    "RandomState",
];

const TREE_TIMEOUT: Duration = Duration::from_secs(120);

/// Checks the manifests and the code of all pure crates.
pub(super) async fn check_purity(tree: &SourceTree, interrupt: &mut Interrupt) -> Result<Verdict> {
    let mut findings = Vec::new();
    for pure in &PURE_CRATES {
        for (depth, name) in normal_dependencies(pure.name, interrupt).await? {
            findings.extend(judge_dependency(pure, depth, &name));
        }
        findings.extend(judge_code(pure, tree));
    }
    findings.extend(unlisted_cores(tree));
    Ok(Verdict::of(findings, format!("{} cores", PURE_CRATES.len())))
}

/// Every crate in the normal dependency tree with its depth; 0 is the crate itself.
async fn normal_dependencies(name: &str, interrupt: &mut Interrupt) -> Result<Vec<(usize, String)>> {
    let list = Invocation::cargo()
        .args(["tree", "--locked", "--package", name, "--edges", "normal,no-proc-macro"])
        .args(["--prefix", "depth", "--format", " {p}"])
        .dir(paths::repository_root());
    let lines = output_of(&list, TREE_TIMEOUT, interrupt).await?;
    Ok(lines.lines().filter_map(parse_tree_line).collect())
}

/// `2 bytes v1.11.0 (*)` is `(2, bytes)`.
fn parse_tree_line(line: &str) -> Option<(usize, String)> {
    let mut words = line.split_whitespace();
    let depth = words.next()?.parse().ok()?;
    Some((depth, words.next()?.to_owned()))
}

fn judge_dependency(pure: &PureCrate, depth: usize, name: &str) -> Option<String> {
    if IMPURE_CRATES.contains(&name) {
        return Some(format!("{}: `{name}` is in its dependency tree", pure.name));
    }
    let is_pure = PURE_CRATES.iter().any(|other| other.name == name);
    if depth == 1 && !is_pure && !pure.allowed.contains(&name) {
        return Some(format!(
            "{}: `{name}` is not on the list of its dependencies",
            pure.name
        ));
    }
    None
}

fn judge_code(pure: &PureCrate, tree: &SourceTree) -> Vec<String> {
    let folder = format!("{}/src/", pure.folder);
    let mut findings = Vec::new();
    for (name, text) in tree.texts_ending(".rs").filter(|(name, _)| name.starts_with(&folder)) {
        if name.ends_with("/tests.rs") || name.contains("/tests/") {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            // Unit tests stand at the end of their file.
            if line.trim_start().starts_with("#[cfg(test)]") {
                break;
            }
            let code = line.split("//").next().unwrap_or_default();
            if let Some(path) = IMPURE_PATHS.iter().find(|path| code.contains(**path)) {
                findings.push(format!("{name}:{number}: `{path}` in a pure crate"));
            }
        }
    }
    findings
}

/// A new core joins the list above.
fn unlisted_cores(tree: &SourceTree) -> Vec<String> {
    tree.texts_ending("core/Cargo.toml")
        .map(|(name, _)| name.trim_end_matches("/Cargo.toml"))
        .filter(|folder| PURE_CRATES.iter().all(|pure| pure.folder != *folder))
        .map(|folder| format!("{folder}: a core that is not on the list of pure crates"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mqtt() -> &'static PureCrate {
        &PURE_CRATES[0]
    }

    #[test]
    fn a_runtime_anywhere_below_is_found() {
        assert!(judge_dependency(mqtt(), 4, "tokio").is_some());
    }

    #[test]
    fn a_direct_dependency_needs_to_be_on_the_list() {
        assert!(judge_dependency(mqtt(), 1, "memchr").is_none());
        assert!(judge_dependency(mqtt(), 1, "regex").is_some());
        assert!(judge_dependency(mqtt(), 2, "regex-syntax").is_none());
    }

    #[test]
    fn a_clock_in_the_code_is_found_and_one_in_a_test_is_not() {
        let tree = SourceTree::of(&[
            ("mqtt/src/a.rs", "//! A.\nfn f() { let now = Instant::now(); }\n"),
            (
                "mqtt/src/b.rs",
                "//! B. No Instant::now here.\n#[cfg(test)]\nmod tests { fn g() { Instant::now(); } }\n",
            ),
        ]);
        let findings = judge_code(mqtt(), &tree);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].starts_with("mqtt/src/a.rs:2"));
    }

    #[test]
    fn a_new_core_has_to_be_listed() {
        let tree = SourceTree::of(&[("proxy/core/Cargo.toml", ""), ("bridge/core/Cargo.toml", "")]);
        assert_eq!(unlisted_cores(&tree).len(), 1);
    }

    #[test]
    fn lines_of_the_tree_are_read() {
        assert_eq!(parse_tree_line("2 bytes v1.11.0 (*)"), Some((2, "bytes".to_owned())));
        assert_eq!(parse_tree_line(""), None);
    }
}
