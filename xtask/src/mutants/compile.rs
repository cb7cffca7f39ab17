//! Compiles the cores with all their mutants, and leaves out what does not compile until the rest does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::{SIMULATION, sources::Sources};
use crate::steps::{Ending, Interrupt, Invocation, capture};

/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(2 * 60 * 60);
/// The compiler finds mistakes of one kind only when there is none of another: names, types, lifetimes.
const MOST_ATTEMPTS: usize = 20;
/// Called in place of the compiler for what the workspace itself contains: the switch needs what the stable compiler does
/// not offer, and mutants are no reason for warnings.
const WRAPPER: &str = "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec \"$@\" --cap-lints allow\n";

/// A program of tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TestProgram {
    /// Of its package.
    pub(super) package: String,
    pub(super) path: PathBuf,
    /// Where its tests expect to run.
    pub(super) folder: PathBuf,
}

/// What came of compiling.
pub(super) struct Compiled {
    pub(super) programs: Vec<TestProgram>,
    /// Mutants that do not compile.
    pub(super) unviable: BTreeSet<u32>,
    /// Mutants that cannot be switched on at run time.
    pub(super) not_switched: BTreeSet<u32>,
}

/// Compiles the tests of packages.
///
/// # Errors
/// When something does not compile that no mutant is in.
pub(super) async fn compile(
    packages: &[&str],
    sources: &mut Sources,
    target: &Path,
    interrupt: &mut Interrupt,
) -> Result<Compiled> {
    let wrapper = target.with_extension("rustc");
    fs::write(&wrapper, WRAPPER).with_context(|| format!("writing {}", wrapper.display()))?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    let mut invocation = Invocation::cargo()
        .args([
            "build",
            "--release",
            "--locked",
            "--keep-going",
            "--message-format=json",
            "--tests",
        ])
        .env("CARGO_TARGET_DIR", target)
        .env("RUSTC_WORKSPACE_WRAPPER", &wrapper)
        .dir(sources.root());
    for package in packages {
        invocation = invocation.args(["--package", *package]);
    }
    // Quick to compile, and still quick to run. Nobody looks into these programs.
    for package in super::CORES.iter().map(|(name, _)| *name).chain([SIMULATION]) {
        for setting in ["opt-level=1", "debug=false"] {
            invocation = invocation.args([
                "--config".to_owned(),
                format!("profile.release.package.{package}.{setting}"),
            ]);
        }
    }
    let (mut unviable, mut not_switched) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..MOST_ATTEMPTS {
        let captured = capture(&invocation, TIMEOUT, interrupt).await?;
        let messages = Messages::read(&captured.stdout)?;
        match captured.ending {
            Ending::Passed => {
                return Ok(Compiled {
                    programs: messages.programs,
                    unviable,
                    not_switched,
                });
            }
            Ending::Failed(_) => {}
            ending => bail!("`{invocation}`: {ending}"),
        }
        let (mut of_mutants, mut of_places) = (BTreeSet::new(), BTreeSet::new());
        for error in &messages.errors {
            let mutants = error.mutants(sources);
            if mutants.is_empty() {
                let around = error.mutants_around(sources);
                of_places.extend(if around.is_empty() {
                    error.mutants_between(sources)
                } else {
                    around
                });
            }
            of_mutants.extend(mutants);
        }
        // What only follows from another mistake goes with it.
        let left_out = if of_mutants.is_empty() { &of_places } else { &of_mutants };
        ensure!(
            !left_out.is_empty(),
            "what was written does not compile:\n{}\n{}",
            messages.errors.first().map_or("", |error| &error.rendered),
            captured.stderr
        );
        println!("    {} mutants do not compile", left_out.len());
        let numbers: Vec<u32> = left_out.iter().copied().collect();
        sources.leave_out(&numbers)?;
        if of_mutants.is_empty() {
            not_switched.append(&mut of_places);
        } else {
            unviable.append(&mut of_mutants);
        }
    }
    bail!("after {MOST_ATTEMPTS} attempts the rest does not compile either")
}

/// What cargo says of a build.
#[derive(Debug, Default, PartialEq, Eq)]
struct Messages {
    programs: Vec<TestProgram>,
    errors: Vec<Error>,
}

/// An error of the compiler.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Error {
    level: String,
    #[serde(default)]
    spans: Vec<Span>,
    #[serde(default)]
    rendered: String,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Span {
    file_name: String,
    byte_start: usize,
    is_primary: bool,
    /// Where the macro is called in which this is.
    expansion: Option<Box<Expansion>>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Expansion {
    span: Span,
}

/// One line of cargo.
#[derive(Debug, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Line {
    CompilerMessage {
        message: Error,
    },
    CompilerArtifact {
        manifest_path: PathBuf,
        target: Target,
        profile: Profile,
        executable: Option<PathBuf>,
        package_id: String,
    },
    #[serde(other)]
    Else,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

impl Messages {
    fn read(stdout: &str) -> Result<Self> {
        let mut messages = Self::default();
        for line in stdout.lines().filter(|line| line.starts_with('{')) {
            match serde_json::from_str(line).context("reading what cargo says")? {
                Line::CompilerMessage { message } if message.level.starts_with("error") => {
                    messages.errors.push(message);
                }
                Line::CompilerArtifact {
                    manifest_path,
                    target,
                    profile,
                    executable: Some(path),
                    package_id,
                } if profile.test => {
                    let package = package_of(&package_id);
                    // What else the simulation has is about the simulation.
                    if package == SIMULATION && target.name != "sequences" {
                        continue;
                    }
                    let folder = manifest_path.parent().context("a manifest is in a folder")?.to_owned();
                    messages.programs.push(TestProgram { package, path, folder });
                }
                Line::CompilerMessage { .. } | Line::CompilerArtifact { .. } | Line::Else => {}
            }
        }
        Ok(messages)
    }
}

/// `freshet-mqtt` of `path+file:///a/mqtt#freshet-mqtt@0.1.0`.
fn package_of(id: &str) -> String {
    let behind = id.rsplit('#').next().unwrap_or(id);
    behind.split('@').next().unwrap_or(behind).to_owned()
}

impl Error {
    /// The mutants in whose own text the error is.
    fn mutants(&self, sources: &Sources) -> BTreeSet<u32> {
        let at = |span: &Span| sources.mutant_at(&span.file_name, span.byte_start);
        let primary: BTreeSet<u32> = self.places(true).into_iter().filter_map(at).collect();
        if primary.is_empty() {
            return self.places(false).into_iter().filter_map(at).collect();
        }
        primary
    }

    /// The mutants of the places that the error is in.
    fn mutants_around(&self, sources: &Sources) -> BTreeSet<u32> {
        let places = self.places(true).into_iter();
        places
            .flat_map(|span| sources.mutants_around(&span.file_name, span.byte_start))
            .collect()
    }

    /// The mutants between all that the error points at: what is borrowed, and where it is borrowed no more.
    fn mutants_between(&self, sources: &Sources) -> BTreeSet<u32> {
        let mut files: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for span in &self.spans {
            let at = span.byte_start;
            let (first, last) = files.entry(&span.file_name).or_insert((at, at));
            (*first, *last) = (at.min(*first), at.max(*last));
        }
        files
            .into_iter()
            .flat_map(|(name, (first, last))| sources.mutants_between(name, first, last))
            .collect()
    }

    /// Where the error is, macros with what they are called by.
    fn places(&self, is_primary: bool) -> Vec<&Span> {
        let mut places = Vec::new();
        for span in self.spans.iter().filter(|span| span.is_primary == is_primary) {
            let mut next = Some(span);
            while let Some(span) = next {
                places.push(span);
                next = span.expansion.as_ref().map(|expansion| &expansion.span);
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_tests_and_errors_are_read() {
        let artifact = |id: &str, folder: &str, test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"{id}","manifest_path":"{folder}/Cargo.toml",
                "target":{{"name":"x"}},"profile":{{"test":{test}}},"executable":{executable}}}"#
            )
            .replace('\n', "")
        };
        let span = r#"{"file_name":"a.rs","byte_start":7,"is_primary":false,"expansion":null}"#;
        let expanded =
            format!(r#"{{"file_name":"core.rs","byte_start":1,"is_primary":true,"expansion":{{"span":{span}}}}}"#);
        let message = |level: &str, spans: &str| {
            format!(
                r#"{{"reason":"compiler-message","message":{{"level":"{level}","spans":[{spans}],"rendered":"e"}}}}"#
            )
        };
        let lines = [
            artifact("path+file:///w/mqtt#freshet-mqtt@0.1.0", "/w/mqtt", true, r#""/t/a""#),
            artifact("registry+x#bytes@1.0.0", "/r", false, "null"),
            message("warning", ""),
            message("error", &expanded),
            r#"{"reason":"build-finished","success":false}"#.to_owned(),
            "running 0 tests".to_owned(),
        ];
        let messages = Messages::read(&lines.join("\n")).unwrap();
        let program = TestProgram {
            package: "freshet-mqtt".to_owned(),
            path: "/t/a".into(),
            folder: "/w/mqtt".into(),
        };
        assert_eq!(messages.programs, [program]);
        let [error] = messages.errors.as_slice() else {
            panic!("{:?}", messages.errors)
        };
        let places: Vec<_> = error
            .places(true)
            .iter()
            .map(|span| (span.file_name.as_str(), span.byte_start))
            .collect();
        assert_eq!(places, [("core.rs", 1), ("a.rs", 7)]);
    }

    #[test]
    fn a_package_is_named_in_its_id() {
        assert_eq!(package_of("path+file:///w/mqtt#freshet-mqtt@0.1.0"), "freshet-mqtt");
    }
}
