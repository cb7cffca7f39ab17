//! `docs/differences.md`, made from the scripts, so that it cannot say otherwise.

use std::fmt::Write as _;

use super::play::joined;
use super::script::{Expect, Row, Script, Verdict};
use crate::brokers::Kind;
use crate::message::Version;

const HEAD: &str = "\
<!-- Written by `make generate` from conformance/differential. -->
# How other brokers differ

`make test` runs the same scripts against Freshet and Mosquitto, `make soak` against all brokers below, and both look at
every packet that comes back. Below is each case in which another broker does something else, and who is right by the
specification. A difference that is not in the table fails the run, and so does one that is gone.
`cargo run --release --bin conformance -- differences --script will` runs some of them.

Packet identifiers that a broker chooses, reason strings, and what CONNACK announces are compared where a script is about
them. A reason code that is not named is 0x00. `MALFORMED` is a packet that is not well formed in its version, `#A` the first
packet identifier that a broker chooses, `%` the topic level that belongs to one run of a script alone.
";

const VERDICTS: &str = "
**Freshet** in the column *right* means that the other broker violates the specification, or does not do what it demands.
**both** means that the specification leaves it open. Numbers like 3.3.1-5 are statements, see [statements.md](statements.md);
others are sections. Where only one version is named, the other one shows no difference, or has no such script.
";

/// Builds the page.
pub(crate) fn build(groups: &[(&str, Vec<Script>)]) -> String {
    let mut page = String::from(HEAD);
    brokers(&mut page, groups);
    page.push_str("\n## Differences\n");
    page.push_str(VERDICTS);
    for (heading, scripts) in groups {
        differences(&mut page, heading, scripts);
    }
    page.push_str(
        "\n## Scripts\n\nWhat each of them shows is asserted of all brokers, but for the differences above.\n",
    );
    for (heading, scripts) in groups {
        list(&mut page, heading, scripts);
    }
    left_out(&mut page, groups);
    page
}

fn brokers(page: &mut String, groups: &[(&str, Vec<Script>)]) {
    let all = || groups.iter().flat_map(|(_, scripts)| scripts);
    page.push_str(
        "\n## Brokers\n\n| broker | what it is | scripts with a violation | with another choice |\n| --- | --- | --- | --- |\n",
    );
    for kind in Kind::ALL {
        let with = |verdict: Verdict| all().filter(|script| has(script, kind, verdict)).count();
        let what = kind.what();
        let (wrong, open) = (with(Verdict::Wrong), with(Verdict::Open));
        let _ = writeln!(page, "| {} | {what} | {wrong} | {open} |", kind.name());
    }
    let _ = writeln!(
        page,
        "\nThere are {} scripts; most run in both versions.",
        all().count()
    );
}

fn has(script: &Script, kind: Kind, verdict: Verdict) -> bool {
    let mut rows = script.differences();
    rows.any(|(_, row)| row.verdict == verdict && row.brokers.iter().any(|(of, _)| *of == kind))
}

fn differences(page: &mut String, heading: &str, scripts: &[Script]) {
    let _ = write!(
        page,
        "\n### {heading}\n\n| script | broker | does | where Freshet does | right | why |\n| --- | --- | --- | --- | --- | --- |\n"
    );
    for script in scripts {
        for (expect, row) in script.differences() {
            difference(page, script, expect, row);
        }
    }
}

fn difference(page: &mut String, script: &Script, expect: &Expect, row: &Row) {
    // As the newest version that the row is about has it.
    let version = script
        .versions
        .iter()
        .rev()
        .find(|version| Kind::ALL.into_iter().any(|kind| row.is_for(kind, **version)))
        .copied()
        .unwrap_or(Version::V5);
    let brokers: Vec<String> = row
        .brokers
        .iter()
        .map(|(kind, only)| match (only, &script.versions[..]) {
            (Some(version), [_, _]) => format!("{} {}", kind.name(), version.name()),
            _ => kind.name().to_owned(),
        })
        .collect();
    let ways: Vec<String> = row.alternatives(version).iter().map(|way| told(way)).collect();
    let right = match row.verdict {
        Verdict::Wrong => "Freshet",
        Verdict::Open => "both",
    };
    let _ = writeln!(
        page,
        "| {} | {} | {} | {} | {right} | {} |",
        script.name,
        brokers.join(", "),
        ways.join(" or ") + if row.in_any_order { ", in any order" } else { "" },
        told(&expect.packets(version)),
        row.why
    );
}

fn told(packets: &[String]) -> String {
    if packets.is_empty() {
        "nothing".to_owned()
    } else {
        format!("`{}`", joined(packets))
    }
}

fn list(page: &mut String, heading: &str, scripts: &[Script]) {
    let _ = write!(
        page,
        "\n### {heading}: scripts\n\n| script | what it shows | 5.0 | 3.1.1 |\n| --- | --- | --- | --- |\n"
    );
    for script in scripts {
        let about = |version: Version| {
            if !script.versions.contains(&version) {
                return "-".to_owned();
            }
            let numbers = script.about.iter().filter(|(of, _)| *of == version);
            let numbers: Vec<&str> = numbers.map(|(_, number)| *number).collect();
            if numbers.is_empty() {
                "run".to_owned()
            } else {
                numbers.join(", ")
            }
        };
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} |",
            script.name,
            script.what,
            about(Version::V5),
            about(Version::V311)
        );
    }
}

fn left_out(page: &mut String, groups: &[(&str, Vec<Script>)]) {
    let all = groups.iter().flat_map(|(_, scripts)| scripts);
    let mut rows = all
        .flat_map(|script| {
            script
                .without
                .iter()
                .map(move |(kind, reason)| (script.name, kind, reason))
        })
        .peekable();
    if rows.peek().is_none() {
        return;
    }
    page.push_str("\n## Left out\n\n| script | broker | reason |\n| --- | --- | --- |\n");
    for (script, kind, reason) in rows {
        let _ = writeln!(page, "| {script} | {} | {reason} |", kind.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::differential::script::read_all;

    #[test]
    fn every_script_and_every_reason_stands_on_the_page() {
        let groups = read_all().unwrap();
        let page = build(&groups);
        for script in groups.iter().flat_map(|(_, scripts)| scripts) {
            let row = format!("| {} | {} |", script.name, script.what);
            assert!(page.contains(&row), "{row}");
            for (_, row) in script.differences() {
                assert!(page.contains(row.why), "{}", row.why);
            }
        }
    }

    #[test]
    fn columns_are_never_broken() {
        let page = build(&read_all().unwrap());
        let mut columns = 0;
        for line in page.lines() {
            if !line.starts_with('|') {
                columns = 0;
                continue;
            }
            let here = line.matches('|').count();
            assert!(columns == 0 || columns == here, "{line}");
            columns = here;
        }
    }
}
