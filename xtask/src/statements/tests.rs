//! What is found wrong with statements and with the tests that name them.

use super::*;

/// Catalogues of the right length whose first statements are these rows; the others are for clients.
fn tree(rows: &str, source: &str, table: &str) -> SourceTree {
    let catalogue = |version: Version| {
        let present = if version == Version::V5 {
            rows.lines().count()
        } else {
            0
        };
        let mut text = if version == Version::V5 {
            rows.to_owned()
        } else {
            String::new()
        };
        for n in present..catalogue::count(version) {
            text.push_str(&format!("9.9.9-{n} | client | Something.\n"));
        }
        text
    };
    SourceTree::of(&[
        ("mqtt/statements/3.1.1.txt", &catalogue(Version::V311)),
        ("mqtt/statements/5.0.txt", &catalogue(Version::V5)),
        ("a.rs", source),
        (rows::PATH, table),
    ])
}

fn findings(rows: &str, source: &str, table: &str) -> Vec<String> {
    Coverage::of(&tree(rows, source, table)).findings
}

const ROWS: &str = "1.0.0-1 | shown | One.\n1.0.0-2 | shown | Two.\n";
const TABLE: &str = "# head\n5 | first | codec | a bad one | MQTT-1.0.0-2 | 0x81 | 00 | close\n";
const TEST: &str = "#[test]\n#[cfg_attr(false, shows(\"5.0:1.0.0-1\"))]\nfn one_is_kept() {}\n";

#[test]
fn a_test_and_a_row_show_what_they_name() {
    let coverage = Coverage::of(&tree(ROWS, TEST, TABLE));
    assert_eq!(coverage.findings, [""; 0]);
    let evidence = |number: &str| {
        coverage.evidence_of(&StatementId {
            version: Version::V5,
            number: number.to_owned(),
        })
    };
    let test = Evidence::Test {
        file: "a.rs".to_owned(),
        name: "one_is_kept".to_owned(),
    };
    assert_eq!(evidence("1.0.0-1"), [test]);
    assert_eq!(evidence("1.0.0-2"), [Evidence::Row("a bad one".to_owned())]);
}

#[test]
fn tests_inside_macros_and_modules_are_read_and_attributes_stand_in_any_order() {
    let source = "mod tests { proptest! {
        /// Says something.
        #[cfg_attr(false, shows(\"5.0:1.0.0-1\"))]
        #[test]
        fn one_is_kept(x in 0..1) {}
        #[tokio::test(flavor = \"current_thread\")]
        #[cfg_attr(false, shows(\"5.0:1.0.0-2\"))]
        pub(crate) async fn two_is_kept() {}
    } }";
    assert_eq!(findings(ROWS, source, ""), [""; 0]);
}

#[test]
fn a_statement_that_nothing_shows_is_named() {
    assert_eq!(findings(ROWS, TEST, ""), ["5.0:1.0.0-2 no test names it"]);
}

#[test]
fn a_reason_beside_a_test_and_a_pending_one_that_is_shown_are_named() {
    let rows = "1.0.0-1 | client | One.\n1.0.0-2 | pending | Two.\n";
    let found = findings(rows, TEST, TABLE);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("a reason for no test"), "{found:?}");
    assert!(found[1].contains("not pending any more"), "{found:?}");
}

#[test]
fn what_does_not_exist_or_is_not_run_shows_nothing() {
    let statement = "#[cfg_attr(false, shows(\"5.0:1.0.0-1\"))]";
    for source in [
        format!("{statement}\nfn helper() {{}}"),
        format!("{statement}\n#[test]\nstruct NoFunction;"),
        format!("{statement}\n#[test]\n#[ignore]\nfn one_is_kept() {{}}"),
        "#[test]\n#[cfg_attr(false, shows(\"5.0:7.7.7-7\"))]\nfn one_is_kept() {}".to_owned(),
        "#[test]\n#[cfg_attr(false, shows(\"1.0.0-1\"))]\nfn one_is_kept() {}".to_owned(),
    ] {
        let found = findings(ROWS, &source, TABLE);
        assert_eq!(found.len(), 2, "{source}: {found:?}");
        assert!(found[1].contains("no test names it"), "{found:?}");
    }
}

#[test]
fn a_test_names_few_statements_and_each_once() {
    let names = |count: usize| -> String { (1..=count).map(|n| format!("\"5.0:1.0.0-{n}\",")).collect() };
    let rows: String = (1..=6).map(|n| format!("1.0.0-{n} | shown | It.\n")).collect();
    let source = format!("#[test]\n#[cfg_attr(false, shows({}))]\nfn all() {{}}", names(6));
    assert_eq!(
        findings(&rows, &source, ""),
        ["a.rs: `all` names 6 statements, more than 5"]
    );
    let twice = "#[test]\n#[cfg_attr(false, shows(\"5.0:1.0.0-1\", \"5.0:1.0.0-1\"))]\nfn one() {}";
    assert!(findings(ROWS, twice, TABLE)[0].contains("named twice"));
}

#[test]
fn a_catalogue_of_another_length_or_form_is_refused() {
    let too_many = "1.0.0-1 | client | One.\n".repeat(2);
    let found = findings(&too_many, "", "");
    assert!(found.iter().any(|f| f.contains("is there twice")), "{found:?}");
    assert!(
        found.iter().any(|f| f.contains("250 statements, Appendix B has 251")),
        "{found:?}"
    );
    for row in [
        "1.0-1 | client | One.",
        "1.0.0-1 | maybe | One.",
        "1.0.0-1 | absent | One.",
    ] {
        let found = findings(&format!("{row}\n"), "", "");
        assert!(found[0].starts_with("mqtt/statements/5.0.txt:1: "), "{row}: {found:?}");
    }
}
