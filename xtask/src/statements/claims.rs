//! Which statements a test says it shows: `#[cfg_attr(false, shows("5.0:3.1.0-1", "3.1.1:3.1.0-1"))]`.
//!
//! The compiler drops the attribute before it looks for its meaning, so that it needs no macro and costs nothing. It is
//! read from the tokens of the source, so that it works inside `proptest!` too.

use proc_macro2::{Delimiter, Group, Ident, LexError, TokenStream, TokenTree};

/// What a file with such an attribute contains.
pub(super) const WORD: &str = "shows(";

/// What the tests of a file say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) tests: Vec<Claim>,
    pub(super) findings: Vec<String>,
}

/// What one test says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) name: String,
    /// As they are written: `5.0:3.1.0-1`.
    pub(super) statements: Vec<String>,
}

/// Finds what the tests of a file say.
///
/// # Errors
/// When the text cannot be read as tokens of Rust.
pub(super) fn find(text: &str) -> Result<Claims, LexError> {
    let mut claims = Claims::default();
    walk(text.parse()?, &mut claims);
    Ok(claims)
}

/// The attributes above an item.
#[derive(Default)]
struct Attributes {
    is_test: bool,
    is_ignored: bool,
    statements: Vec<String>,
}

fn walk(tokens: TokenStream, claims: &mut Claims) {
    let mut above = Attributes::default();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                let attribute = tokens.next_if(|next| bracket(next).is_some());
                if let Some(group) = attribute.as_ref().and_then(bracket) {
                    read_attribute(group, &mut above, claims);
                }
            }
            TokenTree::Ident(word) if word == "fn" => {
                let name = match tokens.peek() {
                    Some(TokenTree::Ident(name)) => name.to_string(),
                    _ => String::new(),
                };
                close(std::mem::take(&mut above), name, claims);
            }
            // What may stand between the attributes of a function and its `fn`.
            TokenTree::Ident(word) if is_qualifier(&word) => {}
            TokenTree::Group(group) => {
                if group.delimiter() != Delimiter::Parenthesis {
                    close(std::mem::take(&mut above), String::new(), claims);
                }
                walk(group.stream(), claims);
            }
            _ => close(std::mem::take(&mut above), String::new(), claims),
        }
    }
    close(above, String::new(), claims);
}

fn bracket(token: &TokenTree) -> Option<&Group> {
    match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => Some(group),
        _ => None,
    }
}

fn is_qualifier(word: &Ident) -> bool {
    ["pub", "async", "const", "unsafe", "extern"].iter().any(|q| word == q)
}

/// Ends an item: `name` is empty when it is no function.
fn close(above: Attributes, name: String, claims: &mut Claims) {
    if above.statements.is_empty() {
        return;
    }
    let finding = if name.is_empty() {
        format!("{} stands above no function", above.statements.join(", "))
    } else if !above.is_test {
        format!("`{name}` is no test")
    } else if above.is_ignored {
        format!("`{name}` is not run")
    } else {
        claims.tests.push(Claim {
            name,
            statements: above.statements,
        });
        return;
    };
    claims.findings.push(finding);
}

fn read_attribute(attribute: &Group, above: &mut Attributes, claims: &mut Claims) {
    let tokens: Vec<TokenTree> = attribute.stream().into_iter().collect();
    let path = tokens
        .iter()
        .take_while(|token| !matches!(token, TokenTree::Group(_)))
        .filter_map(|token| match token {
            TokenTree::Ident(ident) => Some(ident.to_string()),
            _ => None,
        })
        .last();
    match path.as_deref() {
        Some("test") => above.is_test = true,
        Some("ignore") => above.is_ignored = true,
        Some("cfg_attr") => {
            if let Some(TokenTree::Group(arguments)) = tokens.last() {
                read_shows(arguments, above, claims);
            }
        }
        _ => {}
    }
}

/// Reads `false, shows("…", "…")`; leaves other attributes alone.
fn read_shows(arguments: &Group, above: &mut Attributes, claims: &mut Claims) {
    let arguments: Vec<TokenTree> = arguments.stream().into_iter().collect();
    let [condition, _, TokenTree::Ident(word), TokenTree::Group(list), ..] = &arguments[..] else {
        return;
    };
    if word != "shows" {
        return;
    }
    if condition.to_string() != "false" {
        claims
            .findings
            .push(format!("`shows` under the condition `{condition}`, not `false`"));
    }
    for token in list.stream() {
        match &token {
            TokenTree::Literal(literal) => {
                let literal = literal.to_string();
                let statement = literal.trim_matches('"').to_owned();
                if above.statements.contains(&statement) {
                    claims.findings.push(format!("`{statement}` is named twice"));
                }
                above.statements.push(statement);
            }
            TokenTree::Punct(punct) if punct.as_char() == ',' => {}
            other => claims.findings.push(format!("`{other}` is no statement")),
        }
    }
}
