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
    /// The compiler runs the place, and it alone.
    Constant,
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
        if node.surroundings.is_constant {
            return Ok(Found::Constant);
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

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        match &arm.guard {
            None => {
                let node = self.node(Place::Arm {
                    pattern_end: bytes(&arm.pat).end,
                });
                self.arms.insert(bytes(arm).start, node);
            }
            Some((_, guard)) => {
                let guard = bytes(&**guard);
                let start = guard.start;
                let node = self.node(Place::Guard { guard });
                self.guards.insert(start, node);
            }
        }
        syn::visit::visit_arm(self, arm);
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
