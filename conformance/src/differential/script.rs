//! The scripts as `conformance/differential` tells them, and what stands in them: steps, expectations, differences.
//!
//! ```text
//! == name: what it shows
//! 5.0 3.3.1-5 4.7.2                      statements and sections it is about, by version
//! only 5.0                               the other version has no such script
//! shows expiry                           what is told of packets beyond the usual
//! without mochi: reason                  a broker that is left out
//! s+ CONNECT manual                      the client `s` sends, and waits for the answer that every broker gives
//! p> PUBLISH #1 %/a q1 "x"               the client `p` sends; `%` stands for what is this run's alone
//! p<5 PUBACK #1 0x10                     `p` is sent this next, in 5.0
//! s< PUBLISH #A %/a q1 "x"               `#A` is the first packet identifier that the broker chooses for `s`
//!     mochi/5 | nothing | wrong | why    what a broker does instead, and who is right
//! wait 1200                              milliseconds pass
//! ```
//!
//! Lines of one client that follow each other are one expectation; an empty line parts two of them. `<~` leaves their
//! order open. In 3.1.1 reason codes, properties and DISCONNECT count as not written. Leaves out how packets are
//! written (`send`) and told (`observe`).

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::brokers::Kind;
use crate::message::Version;

/// A script.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) name: &'static str,
    /// What it shows, for the documentation.
    pub(crate) what: &'static str,
    /// Statements (`3.3.1-5`) and sections (`4.7.2`) it is about.
    pub(crate) about: Vec<(Version, &'static str)>,
    pub(crate) versions: Vec<Version>,
    pub(crate) without: Vec<(Kind, &'static str)>,
    /// What is told of packets beyond the usual.
    pub(crate) shows: Vec<&'static str>,
    pub(crate) steps: Vec<Step>,
}

/// A step; `line` is that of its file.
#[derive(Debug)]
pub(crate) enum Step {
    Send {
        line: usize,
        client: &'static str,
        only: Option<Version>,
        packet: &'static str,
        /// The step waits for the answer.
        completes: bool,
    },
    Expect(Expect),
    Wait(Duration),
}

/// What a client is to be sent next.
#[derive(Debug)]
pub(crate) struct Expect {
    pub(crate) line: usize,
    pub(crate) client: &'static str,
    pub(crate) in_any_order: bool,
    packets: Vec<(Option<Version>, &'static str)>,
    pub(crate) rows: Vec<Row>,
}

/// What brokers do instead.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) brokers: Vec<(Kind, Option<Version>)>,
    /// Packets, separated by `;`. Alternatives, for a broker that is not always the same, are separated by `//`.
    seen: &'static str,
    /// The broker keeps no order: written as `~` in front of the packets.
    pub(crate) in_any_order: bool,
    pub(crate) verdict: Verdict,
    /// What the script does next says nothing about this broker.
    pub(crate) stops: bool,
    pub(crate) why: &'static str,
}

/// Who is right by the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Freshet; the other broker violates it, or leaves out something that it demands.
    Wrong,
    /// Both.
    Open,
}

impl Expect {
    /// What is expected of a broker that does as the script says.
    pub(crate) fn packets(&self, version: Version) -> Vec<String> {
        let of_version = self
            .packets
            .iter()
            .filter(|(only, _)| only.is_none_or(|only| only == version));
        of_version
            .filter_map(|(_, packet)| in_version(packet, version))
            .collect()
    }

    /// Whether the expectation is one of this version.
    pub(crate) fn is_in(&self, version: Version) -> bool {
        self.packets
            .iter()
            .any(|(only, _)| only.is_none_or(|only| only == version))
    }

    /// What a broker is known to do instead.
    pub(crate) fn row(&self, kind: Kind, version: Version) -> Option<&Row> {
        self.rows.iter().find(|row| row.is_for(kind, version))
    }
}

impl Row {
    pub(crate) fn is_for(&self, kind: Kind, version: Version) -> bool {
        self.brokers
            .iter()
            .any(|(of, only)| *of == kind && only.is_none_or(|only| only == version))
    }

    /// What is seen, in each of the ways that it may be.
    pub(crate) fn alternatives(&self, version: Version) -> Vec<Vec<String>> {
        let alternatives = self.seen.split(" // ");
        alternatives
            .map(|seen| {
                seen.split(';')
                    .filter_map(|packet| in_version(packet.trim(), version))
                    .collect()
            })
            .collect()
    }
}

/// Words of a PUBLISH that only 5.0 has.
const PROPERTIES: [&str; 9] = [
    "sid=",
    "expires",
    "user=",
    "type=",
    "response=",
    "correlation=",
    "format=",
    "alias=",
    "0x",
];

/// A packet as a version knows it; none if it has no such packet.
fn in_version(packet: &str, version: Version) -> Option<String> {
    let name = packet.split(' ').next().unwrap_or_default();
    if name == "nothing" || name.is_empty() {
        return None;
    }
    if version == Version::V5 {
        return Some(packet.to_owned());
    }
    match name {
        "DISCONNECT" => None,
        "PUBLISH" | "PUBACK" | "PUBREC" | "PUBREL" | "PUBCOMP" | "UNSUBACK" => {
            let kept = packet
                .split(' ')
                .filter(|word| !PROPERTIES.iter().any(|property| word.starts_with(property)));
            Some(kept.collect::<Vec<_>>().join(" "))
        }
        _ => Some(packet.to_owned()),
    }
}

/// The files in `conformance/differential`, each with the heading under which the documentation has its scripts.
const FILES: [(&str, &str); 6] = [
    ("Connecting", "connecting.txt"),
    ("Publishing", "publishing.txt"),
    ("Subscribing", "subscribing.txt"),
    ("Retained messages", "retained.txt"),
    ("Sessions and wills", "sessions.txt"),
    ("Limits and errors", "errors.txt"),
];

/// Reads all scripts, by heading. They stay for as long as the process does.
///
/// # Errors
/// When a file is not well formed: with its line.
pub(crate) fn read_all() -> anyhow::Result<Vec<(&'static str, Vec<Script>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("differential");
    let read_file = |(heading, file): (&'static str, &'static str)| {
        let text = std::fs::read_to_string(folder.join(file)).with_context(|| format!("cannot read {file}"))?;
        let scripts = read(text.leak()).with_context(|| file.to_owned())?;
        Ok((heading, scripts))
    };
    FILES.into_iter().map(read_file).collect()
}

/// Reads the scripts of a file.
///
/// # Errors
/// When it is not well formed: with its line.
fn read(text: &'static str) -> anyhow::Result<Vec<Script>> {
    let mut scripts: Vec<Script> = Vec::new();
    // Whether the next line of the same client belongs to the last expectation.
    let mut goes_on = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with('#') {
            continue;
        }
        if line.is_empty() {
            goes_on = false;
        } else if let Some(header) = line.strip_prefix("== ") {
            let (name, what) = header
                .split_once(": ")
                .with_context(|| format!("line {number}: not `== name: what it shows`"))?;
            scripts.push(Script::new(name, what));
        } else {
            let script = scripts
                .last_mut()
                .with_context(|| format!("line {number}: no script"))?;
            goes_on = script
                .add(number, line, goes_on)
                .with_context(|| format!("line {number}: {line}"))?;
        }
    }
    Ok(scripts)
}

impl Script {
    fn new(name: &'static str, what: &'static str) -> Self {
        Self {
            name,
            what,
            about: Vec::new(),
            versions: Version::ALL.to_vec(),
            without: Vec::new(),
            shows: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Adds a line; returns whether the next one may belong to the same expectation.
    fn add(&mut self, number: usize, line: &'static str, goes_on: bool) -> anyhow::Result<bool> {
        if let Some(row) = line.strip_prefix("    ") {
            let Some(Step::Expect(expect)) = self.steps.last_mut() else {
                bail!("a difference without an expectation");
            };
            expect.rows.push(read_row(row)?);
            return Ok(false);
        }
        let (word, rest) = line.split_once(' ').context("one word alone")?;
        match word {
            "5.0" | "3.1.1" => self.about.extend(rest.split(' ').map(|number| (version(word), number))),
            "only" => self.versions = vec![version(rest)],
            "shows" => self.shows = rest.split(' ').collect(),
            "without" => {
                let (broker, reason) = rest.split_once(": ").context("no reason")?;
                self.without.push((kind(broker)?, reason));
            }
            "wait" => self.steps.push(Step::Wait(Duration::from_millis(rest.parse()?))),
            _ => return self.add_step(number, word, rest, goes_on),
        }
        Ok(false)
    }

    fn add_step(
        &mut self,
        line: usize,
        head: &'static str,
        packet: &'static str,
        goes_on: bool,
    ) -> anyhow::Result<bool> {
        let at = head.find(['>', '+', '<']).context("is no step")?;
        let (client, operation) = head.split_at(at);
        ensure!(!client.is_empty(), "no client");
        let in_any_order = operation.contains('~');
        let only = match operation.trim_start_matches(['>', '+', '<', '~']) {
            "" => None,
            "3" => Some(Version::V311),
            "5" => Some(Version::V5),
            other => bail!("`{other}` is no version"),
        };
        if !operation.starts_with('<') {
            let completes = operation.starts_with('+');
            self.steps.push(Step::Send {
                line,
                client,
                only,
                packet,
                completes,
            });
            return Ok(false);
        }
        if goes_on
            && let Some(Step::Expect(expect)) = self.steps.last_mut()
            && expect.client == client
        {
            expect.packets.push((only, packet));
            return Ok(true);
        }
        self.steps.push(Step::Expect(Expect {
            line,
            client,
            in_any_order,
            packets: vec![(only, packet)],
            rows: Vec::new(),
        }));
        Ok(true)
    }

    /// Whether it is run against a broker in a version.
    pub(crate) fn is_for(&self, kind: Kind, version: Version) -> bool {
        self.versions.contains(&version) && self.without.iter().all(|(without, _)| *without != kind)
    }

    /// All differences, with what was expected instead.
    pub(crate) fn differences(&self) -> impl Iterator<Item = (&Expect, &Row)> {
        self.steps
            .iter()
            .filter_map(|step| match step {
                Step::Expect(expect) => Some(expect),
                _ => None,
            })
            .flat_map(|expect| expect.rows.iter().map(move |row| (expect, row)))
    }
}

fn read_row(row: &'static str) -> anyhow::Result<Row> {
    let columns: Vec<&'static str> = row.split('|').map(str::trim).collect();
    let [brokers, seen, verdict, why] = columns[..] else {
        bail!("not `brokers | what they do | verdict | why`");
    };
    ensure!(!why.is_empty(), "no reason");
    let (seen, in_any_order) = match seen.strip_prefix("~ ") {
        Some(seen) => (seen, true),
        None => (seen, false),
    };
    let (verdict, stops) = match verdict.strip_suffix(", stops") {
        Some(verdict) => (verdict, true),
        None => (verdict, false),
    };
    let brokers = brokers.split(' ').map(|broker| {
        Ok(match broker.split_once('/') {
            Some((name, "3")) => (kind(name)?, Some(Version::V311)),
            Some((name, "5")) => (kind(name)?, Some(Version::V5)),
            Some(_) => bail!("`{broker}`: no such version"),
            None => (kind(broker)?, None),
        })
    });
    Ok(Row {
        brokers: brokers.collect::<anyhow::Result<_>>()?,
        seen,
        in_any_order,
        verdict: match verdict {
            "wrong" => Verdict::Wrong,
            "open" => Verdict::Open,
            other => bail!("`{other}` is no verdict"),
        },
        stops,
        why,
    })
}

fn kind(word: &str) -> anyhow::Result<Kind> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word);
    kind.with_context(|| format!("there is no broker `{word}`"))
}

fn version(name: &str) -> Version {
    if name == "3.1.1" { Version::V311 } else { Version::V5 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "\
== one: shows something
5.0 3.3.1-5 4.7
a+ CONNECT
a<5 PUBACK #1 0x10
a<3 PUBACK #1
a< CLOSED
    mochi/5 | PUBACK #1 0x87 // nothing | open, stops | 3.4: why

a<~ PUBLISH %/a q1 sid=1 \"x\"
a<~ DISCONNECT 0x81
    mosquitto | ~ CLOSED; CLOSED | wrong | 4.7: why
";

    fn expectations(script: &Script) -> Vec<&Expect> {
        let steps = script.steps.iter();
        steps
            .filter_map(|step| match step {
                Step::Expect(expect) => Some(expect),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_script_is_read() {
        let scripts = read(SCRIPT).unwrap();
        let [first, second] = expectations(&scripts[0])[..] else {
            panic!("an empty line parts expectations of the same client");
        };
        assert_eq!(first.packets(Version::V5), ["PUBACK #1 0x10", "CLOSED"]);
        assert_eq!(first.packets(Version::V311), ["PUBACK #1", "CLOSED"]);
        assert!(first.row(Kind::Mochi, Version::V311).is_none());
        let row = first.row(Kind::Mochi, Version::V5).unwrap();
        assert!(row.stops && row.verdict == Verdict::Open);
        assert_eq!(row.alternatives(Version::V5), [vec!["PUBACK #1 0x87"], vec![]]);
        assert!(second.in_any_order);
        assert!(second.row(Kind::Mosquitto, Version::V311).unwrap().in_any_order);
    }

    #[test]
    fn what_3_1_1_does_not_have_is_not_expected_of_it() {
        let scripts = read(SCRIPT).unwrap();
        let second = expectations(&scripts[0])[1];
        assert_eq!(second.packets(Version::V311), ["PUBLISH %/a q1 \"x\""]);
    }

    #[test]
    fn a_difference_has_a_reason() {
        let without = "== one: shows\na< CLOSED\n    mochi | nothing | wrong |\n";
        assert!(read(without).is_err());
    }

    /// Statements of both versions, as `mqtt/statements` lists them.
    fn catalogue(version: Version) -> Vec<String> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../mqtt/statements/{}.txt", version.name()));
        let text = std::fs::read_to_string(file).unwrap();
        let numbers = text.lines().filter_map(|line| line.split_once(" | "));
        numbers.map(|(number, _)| number.to_owned()).collect()
    }

    #[test]
    fn the_statements_that_scripts_and_verdicts_name_exist() {
        let known = Version::ALL.map(|version| (version, catalogue(version)));
        let is_known = |only: Option<Version>, number: &str| {
            let mut of = known
                .iter()
                .filter(|(version, _)| only.is_none_or(|only| only == *version));
            !number.contains('-') || of.any(|(_, numbers)| numbers.iter().any(|known| known == number))
        };
        for (_, scripts) in read_all().unwrap() {
            for script in &scripts {
                for (version, number) in &script.about {
                    assert!(is_known(Some(*version), number), "{}: {number}", script.name);
                }
                for (_, row) in script.differences() {
                    let words = row.why.split([' ', ',', ':', ';', '(', ')']);
                    let numbers = words.filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
                    for number in numbers {
                        assert!(is_known(None, number), "{}: {number}", script.name);
                    }
                }
            }
        }
    }

    #[test]
    fn no_two_scripts_have_a_name() {
        let all = read_all().unwrap();
        let mut names: Vec<&str> = all
            .iter()
            .flat_map(|(_, scripts)| scripts)
            .map(|script| script.name)
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn behind_the_end_of_a_script_for_a_broker_nothing_is_said_of_it() {
        for (_, scripts) in read_all().unwrap() {
            for script in &scripts {
                for kind in Kind::ALL {
                    for version in Version::ALL {
                        let rows = script.differences().filter(|(_, row)| row.is_for(kind, version));
                        let behind = rows.skip_while(|(_, row)| !row.stops).count();
                        assert!(behind <= 1, "{} {}", script.name, kind.word());
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_is_known_to_be_wrong_with_freshet() {
        for (_, scripts) in read_all().unwrap() {
            let rows = scripts.iter().flat_map(Script::differences);
            for (expect, row) in rows {
                let is_ours = row.brokers.iter().any(|(kind, _)| *kind == Kind::Freshet);
                assert!(!is_ours, "line {}", expect.line);
            }
        }
    }
}
