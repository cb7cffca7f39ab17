//! The Makefile names the verbs and nothing more: each is one line that calls cargo, so that the logic is Rust.

use super::{Verdict, source_tree::SourceTree};

/// The verbs that documents and CI use.
const VERBS: [&str; 7] = ["up", "down", "test", "soak", "verify", "bench", "generate"];

/// Checks the Makefile.
pub(super) fn check_makefile(tree: &SourceTree) -> Verdict {
    let Some(text) = tree.text("Makefile") else {
        return Verdict::Findings(vec!["there is no Makefile".to_owned()]);
    };
    let xtask = text
        .lines()
        .find_map(|line| line.strip_prefix("XTASK ="))
        .map_or("", str::trim);
    let mut findings = Vec::new();
    if !xtask.starts_with("cargo run ") {
        findings.push("`XTASK` is not a `cargo run`".to_owned());
    }
    for verb in VERBS {
        let recipe = recipe_of(text, verb);
        let calls = format!("$(XTASK) {verb}");
        match recipe.as_slice() {
            [line] if line.trim_start_matches(['@', '+']) == calls => {}
            [] => findings.push(format!("`{verb}` is missing")),
            [line] => findings.push(format!("`{verb}` runs `{line}` instead of `{calls}`")),
            lines => findings.push(format!("`{verb}` has {} lines", lines.len())),
        }
    }
    Verdict::of(findings, format!("{} verbs", VERBS.len()))
}

fn recipe_of<'a>(text: &'a str, verb: &str) -> Vec<&'a str> {
    text.lines()
        .skip_while(|line| !(line.starts_with(verb) && line[verb.len()..].starts_with(':')))
        .skip(1)
        .map_while(|line| line.strip_prefix('\t'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn makefile(test_recipe: &str) -> SourceTree {
        let mut text = "XTASK = cargo run --release --\n".to_owned();
        for verb in VERBS.iter().filter(|verb| **verb != "test") {
            text.push_str(&format!("{verb}: ## says what\n\t@$(XTASK) {verb}\n"));
        }
        text.push_str(&format!("test: ## runs all\n{test_recipe}"));
        SourceTree::of(&[("Makefile", &text)])
    }

    #[test]
    fn one_line_that_calls_cargo_is_right() {
        assert!(matches!(
            check_makefile(&makefile("\t@$(XTASK) test\n")),
            Verdict::Clean(_)
        ));
    }

    #[test]
    fn a_second_line_another_command_and_no_line_are_wrong() {
        for recipe in ["\t@$(XTASK) test\n\techo done\n", "\t@sh test.sh\n", ""] {
            assert!(
                matches!(check_makefile(&makefile(recipe)), Verdict::Findings(_)),
                "{recipe:?}"
            );
        }
    }
}
