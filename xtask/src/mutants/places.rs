//! Finds the places of a file's mutants in its syntax: what has to be said twice so that a mutant can be switched on.
//!
//! Leaves out writing it, which is [`super::instrument`].

use std::{collections::HashMap, ops::Range};

use anyhow::{Context, Result};
use syn::{BinOp, Expr, spanned::Spanned, visit::Visit};

use super::list::{Genre, Mutant};

/// How mutants are switched at a place, and where that is, in bytes of the file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// A function returns another value before it does anything.
    Return { at: usize },
    /// So does one whose type is `impl Iterator`, which needs one type for both.
    Iterator { body: Range<usize> },
    /// An expression is there as it was and as it becomes.
    Expression { whole: Range<usize> },
    /// A match arm gets a condition.
    Arm { pattern_end: usize },
    /// The condition of a match arm is passed over.
    Guard { guard: Range<usize> },
}

/// What can be done with a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// It can be switched on at run time.
    Switched {
        place: Place,
        /// What stands there then, in place of all of it.
        text: String,
        /// Whether the compiler may have run the place already.
        in_const_fn: bool,
    },
    /// It has to be compiled by itself: the compiler runs the place, or wants an arm for every value.
    Alone,
    /// It does not compile: `let` in a condition allows no `||`.
    Unviable,
}

/// Finds the places of the mutants of a file, in their order.
///
/// # Errors
/// When the text is not the one that the mutants are of.
pub(super) fn find(text: &str, mutants: &[&Mutant]) -> Result<Vec<Found>> {
    let file = syn::parse_file(text).context("reading the syntax")?;
    let mut visitor = Visitor::default();
    visitor.visit_file(&file);
    let found = mutants.iter().map(|mutant| {
        let found = visitor.found(text, mutant);
        found.with_context(|| mutant.name.clone())
    });
    found.collect()
}

/// Something that mutants change.
#[derive(Debug, Clone)]
struct Node {
    place: Place,
    surroundings: Surroundings,
    /// A condition with `let` in it.
    has_let: bool,
    /// An arm of a match without one for all else.
    is_needed: bool,
}

/// What surrounds a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Surroundings {
    is_constant: bool,
    in_const_fn: bool,
}

/// Nodes by the byte at which what is changed begins.
#[derive(Default)]
struct Visitor {
    bodies: HashMap<usize, Node>,
    operators: HashMap<usize, Node>,
    arms: HashMap<usize, Node>,
    guards: HashMap<usize, Node>,
    fields: HashMap<usize, Node>,
    surroundings: Surroundings,
    /// Where operators of conditions with `let` begin.
    with_let: Vec<usize>,
}

impl Visitor {
    fn found(&self, text: &str, mutant: &Mutant) -> Result<Found> {
        let changed = mutant.span.bytes(text)?;
        let nodes = match mutant.genre {
            Genre::FnValue => &self.bodies,
            Genre::BinaryOperator | Genre::UnaryOperator => &self.operators,
            Genre::MatchArm => &self.arms,
            Genre::MatchArmGuard => &self.guards,
            Genre::StructField => &self.fields,
        };
        let node = nodes.get(&changed.start).context("nothing there that could change")?;
        if node.has_let {
            return Ok(Found::Unviable);
        }
        if node.surroundings.is_constant || node.is_needed {
            return Ok(Found::Alone);
        }
        let text = match &node.place {
            Place::Expression { whole } => {
                let before = text.get(whole.start..changed.start).context("starts outside")?;
                let after = text.get(changed.end..whole.end).context("ends outside")?;
                format!("{before}{}{after}", mutant.replacement)
            }
            _ => mutant.replacement.clone(),
        };
        Ok(Found::Switched {
            place: node.place.clone(),
            text,
            in_const_fn: node.surroundings.in_const_fn,
        })
    }

    fn node(&self, place: Place) -> Node {
        Node {
            place,
            surroundings: self.surroundings,
            has_let: false,
            is_needed: false,
        }
    }

    /// Visits something in surroundings of its own.
    fn within(&mut self, surroundings: Surroundings, visit: impl FnOnce(&mut Self)) {
        let outside = std::mem::replace(&mut self.surroundings, surroundings);
        visit(self);
        self.surroundings = outside;
    }

    fn constant(&mut self, visit: impl FnOnce(&mut Self)) {
        let surroundings = Surroundings {
            is_constant: true,
            ..self.surroundings
        };
        self.within(surroundings, visit);
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block, visit: impl FnOnce(&mut Self)) {
        let surroundings = Surroundings {
            is_constant: false,
            in_const_fn: signature.constness.is_some(),
        };
        self.within(surroundings, |visitor| {
            if let (Some(first), Some(last)) = (block.stmts.first(), block.stmts.last()) {
                let body = bytes(first).start..bytes(last).end;
                let at = body.start;
                let place = match &signature.output {
                    syn::ReturnType::Type(_, returned) if matches!(**returned, syn::Type::ImplTrait(_)) => {
                        Place::Iterator { body }
                    }
                    _ => Place::Return { at },
                };
                let node = visitor.node(place);
                visitor.bodies.insert(at, node);
            }
            visit(visitor);
        });
    }
}

impl<'ast> Visit<'ast> for Visitor {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block, |v| syn::visit::visit_item_fn(v, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block, |v| syn::visit::visit_impl_item_fn(v, item));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        match &item.default {
            Some(block) => self.function(&item.sig, block, |v| syn::visit::visit_trait_item_fn(v, item)),
            None => syn::visit::visit_trait_item_fn(self, item),
        }
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.constant(|v| syn::visit::visit_item_const(v, item));
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.constant(|v| syn::visit::visit_impl_item_const(v, item));
    }

    fn visit_trait_item_const(&mut self, item: &'ast syn::TraitItemConst) {
        self.constant(|v| syn::visit::visit_trait_item_const(v, item));
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.constant(|v| syn::visit::visit_item_static(v, item));
    }

    fn visit_expr_const(&mut self, block: &'ast syn::ExprConst) {
        self.constant(|v| syn::visit::visit_expr_const(v, block));
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.constant(|v| syn::visit::visit_variant(v, variant));
    }

    /// Lengths of arrays.
    fn visit_type_array(&mut self, array: &'ast syn::TypeArray) {
        self.constant(|v| syn::visit::visit_type_array(v, array));
    }

    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.visit_expr(&repeat.expr);
        self.constant(|v| v.visit_expr(&repeat.len));
    }

    fn visit_generic_argument(&mut self, argument: &'ast syn::GenericArgument) {
        self.constant(|v| syn::visit::visit_generic_argument(v, argument));
    }

    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        let operator = bytes(&binary.op).start;
        if matches!(binary.op, BinOp::And(_)) && !self.with_let.contains(&operator) {
            let mut chain = Chain::default();
            chain.walk(binary);
            if chain.has_let {
                self.with_let.append(&mut chain.operators);
            }
        }
        let mut node = self.node(Place::Expression { whole: bytes(binary) });
        node.has_let = self.with_let.contains(&operator);
        self.operators.insert(operator, node);
        syn::visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        let node = self.node(Place::Expression { whole: bytes(unary) });
        self.operators.insert(bytes(&unary.op).start, node);
        syn::visit::visit_expr_unary(self, unary);
    }

    fn visit_expr_match(&mut self, expression: &'ast syn::ExprMatch) {
        let has_else = expression
            .arms
            .iter()
            .any(|arm| matches!(arm.pat, syn::Pat::Wild(_)) && arm.guard.is_none());
        for arm in &expression.arms {
            match &arm.guard {
                None => {
                    let mut node = self.node(Place::Arm {
                        pattern_end: bytes(&arm.pat).end,
                    });
                    node.is_needed = !has_else;
                    self.arms.insert(bytes(arm).start, node);
                }
                Some((_, guard)) => {
                    let guard = bytes(&**guard);
                    let start = guard.start;
                    let node = self.node(Place::Guard { guard });
                    self.guards.insert(start, node);
                }
            }
        }
        syn::visit::visit_expr_match(self, expression);
    }

    fn visit_expr_struct(&mut self, literal: &'ast syn::ExprStruct) {
        let whole = bytes(literal);
        for field in &literal.fields {
            let node = self.node(Place::Expression { whole: whole.clone() });
            self.fields.insert(bytes(field).start, node);
        }
        syn::visit::visit_expr_struct(self, literal);
    }
}

/// The operators of `a && b && c`, and whether one of these is a `let`.
#[derive(Default)]
struct Chain {
    operators: Vec<usize>,
    has_let: bool,
}

impl Chain {
    fn walk(&mut self, binary: &syn::ExprBinary) {
        self.operators.push(bytes(&binary.op).start);
        for side in [&binary.left, &binary.right] {
            match &**side {
                Expr::Let(_) => self.has_let = true,
                Expr::Binary(inner) if matches!(inner.op, BinOp::And(_)) => self.walk(inner),
                _ => {}
            }
        }
    }
}

fn bytes(node: &impl Spanned) -> Range<usize> {
    node.span().byte_range()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mutant that puts `replacement` in the place of `original`, where that is for the first time.
    fn find_one(text: &str, original: &str, replacement: &str, genre: &str) -> Found {
        let start = text.find(original).unwrap() + 1;
        let json = format!(
            r#"{{"name": "x", "file": "x.rs", "replacement": "{replacement}", "genre": "{genre}",
                "span": {{"start": {{"line": 1, "column": {start}}}, "end": {{"line": 1, "column": {}}}}}}}"#,
            start + original.len()
        );
        let mutant: Mutant = serde_json::from_str(&json).unwrap();
        find(text, &[&mutant]).unwrap().remove(0)
    }

    /// The source of the place, and what stands there then.
    fn switched(text: &str, original: &str, replacement: &str, genre: &str) -> (String, String) {
        match find_one(text, original, replacement, genre) {
            Found::Switched {
                place: Place::Expression { whole } | Place::Guard { guard: whole } | Place::Iterator { body: whole },
                text: changed,
                ..
            } => (text[whole].to_owned(), changed),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_operator_changes_the_expression_that_it_is_of() {
        let text = "fn f() { g(a + b < c) }";
        let expected = ("a + b < c".to_owned(), "a + b <= c".to_owned());
        assert_eq!(switched(text, "<", "<=", "BinaryOperator"), expected);
        let expected = ("a + b".to_owned(), "a - b".to_owned());
        assert_eq!(switched(text, "+", "-", "BinaryOperator"), expected);
        let expected = ("!x.y".to_owned(), "x.y".to_owned());
        assert_eq!(switched("fn f() { !x.y }", "!", "", "UnaryOperator"), expected);
    }

    #[test]
    fn a_field_changes_its_whole_struct() {
        let text = "fn f() { S { a: 1, b: 2, ..d } }";
        let expected = ("S { a: 1, b: 2, ..d }".to_owned(), "S {  b: 2, ..d }".to_owned());
        assert_eq!(switched(text, "a: 1,", "", "StructField"), expected);
    }

    #[test]
    fn a_function_returns_before_its_first_statement_unless_its_type_is_an_iterator() {
        let found = find_one("fn f() -> u8 { let x = 1; x }", "let x = 1; x", "0", "FnValue");
        assert!(
            matches!(
                found,
                Found::Switched {
                    place: Place::Return { at: 15 },
                    ..
                }
            ),
            "{found:?}"
        );
        let text = "fn f() -> impl Iterator<Item = u8> { a; b }";
        let expected = ("a; b".to_owned(), "::std::iter::empty()".to_owned());
        assert_eq!(switched(text, "a; b", "::std::iter::empty()", "FnValue"), expected);
    }

    #[test]
    fn arms_and_their_conditions_are_places() {
        let text = "fn f() { match x { A | B => 1, C if d => 2, _ => 3 } }";
        let found = find_one(text, "A | B => 1,", "", "MatchArm");
        let end = text.find(" => 1").unwrap();
        assert!(
            matches!(found, Found::Switched { place: Place::Arm { pattern_end }, .. } if pattern_end == end),
            "{found:?}"
        );
        assert_eq!(
            switched(text, "d", "true", "MatchArmGuard"),
            ("d".to_owned(), "true".to_owned())
        );
    }

    #[test]
    fn an_arm_is_switched_only_where_another_takes_all_else() {
        let text = "fn f() { match x { None => 1, Some(_) => 2, _ if d => 3 } }";
        assert_eq!(find_one(text, "None => 1,", "", "MatchArm"), Found::Alone);
    }

    #[test]
    fn what_the_compiler_runs_is_not_switched() {
        for text in [
            "const A: u8 = 1 + 2;",
            "static A: u8 = 1 + 2;",
            "fn f() { const A: u8 = 1 + 2; }",
            "fn f() { [0; 1 + 2] }",
            "fn f(x: [u8; 1 + 2]) {}",
            "enum E { A = 1 + 2 }",
        ] {
            assert_eq!(find_one(text, "+", "-", "BinaryOperator"), Found::Alone, "{text}");
        }
        let found = find_one("const fn f() -> u8 { 1 + 2 }", "+", "-", "BinaryOperator");
        assert!(matches!(found, Found::Switched { in_const_fn: true, .. }), "{found:?}");
    }

    #[test]
    fn a_condition_with_let_has_no_or() {
        let with_let = "fn f() { if a && let b = c && d {} }";
        assert_eq!(find_one(with_let, "&&", "||", "BinaryOperator"), Found::Unviable);
        let inside = "fn f() { if let b = c && (a && d) {} }";
        assert_eq!(switched(inside, "&& d", "|| d", "BinaryOperator").0, "a && d");
        let without = "fn f() { if a && d {} }";
        assert_eq!(switched(without, "&&", "||", "BinaryOperator").1, "a || d");
    }
}
