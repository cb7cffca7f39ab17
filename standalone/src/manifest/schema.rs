//! Holds a manifest against the schema of the resource definition, as far as the API server would before it runs rules:
//! names of fields, types, bounds and choices.

use serde::Serialize;
use serde_json::{Map, Value};

/// What is wrong, each with its field; nothing: it fits.
pub(super) fn problems(manifest: &Value, definition: &impl Serialize) -> Vec<String> {
    let definition = serde_json::to_value(definition).unwrap_or_default();
    let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec");
    let mut problems = Vec::new();
    if let (Some(schema), Some(spec)) = (schema, manifest.get("spec")) {
        check(spec, schema, "spec", &mut problems);
    }
    problems
}

fn check(value: &Value, schema: &Value, field: &str, problems: &mut Vec<String>) {
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        return;
    }
    if value.is_null() {
        // The API server takes a null for a field that is left out.
        return;
    }
    if !has_type(value, schema) {
        let expected = schema.get("type").and_then(Value::as_str).unwrap_or_default();
        problems.push(format!("{field}: must be of type {expected}, found {value}"));
        return;
    }
    if let Some(choices) = schema.get("enum").and_then(Value::as_array)
        && !choices.contains(value)
    {
        let choices: Vec<_> = choices.iter().map(Value::to_string).collect();
        problems.push(format!("{field}: must be one of {}, found {value}", choices.join(", ")));
    }
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            check_bound(number, schema, ["minimum", "maximum"], field, "", problems);
        }
        Value::String(text) => {
            let length = text.chars().count() as f64;
            check_bound(
                length,
                schema,
                ["minLength", "maxLength"],
                field,
                " characters",
                problems,
            );
        }
        Value::Array(items) => {
            check_bound(
                items.len() as f64,
                schema,
                ["minItems", "maxItems"],
                field,
                " items",
                problems,
            );
            if let Some(schema) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    check(item, schema, &format!("{field}[{index}]"), problems);
                }
            }
        }
        Value::Object(fields) => check_fields(fields, schema, field, problems),
        Value::Null | Value::Bool(_) => {}
    }
}

fn check_fields(fields: &Map<String, Value>, schema: &Value, field: &str, problems: &mut Vec<String>) {
    let known = schema.get("properties").and_then(Value::as_object);
    let others = schema.get("additionalProperties").filter(|others| others.is_object());
    for (name, value) in fields {
        let path = format!("{field}.{name}");
        match (known.and_then(|k| k.get(name)), others) {
            (Some(schema), _) | (None, Some(schema)) => check(value, schema, &path, problems),
            (None, None) => problems.push(format!("{path}: there is no such field")),
        }
    }
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            problems.push(format!("{field}.{name}: is missing"));
        }
    }
}

fn has_type(value: &Value, schema: &Value) -> bool {
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        return value.is_string() || value.is_i64() || value.is_u64();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        _ => true,
    }
}

fn check_bound(found: f64, schema: &Value, names: [&str; 2], field: &str, unit: &str, problems: &mut Vec<String>) {
    let [least, most] = names.map(|name| schema.get(name).and_then(Value::as_f64));
    if let Some(least) = least.filter(|least| found < *least) {
        problems.push(format!("{field}: must be at least {least}{unit}, found {found}"));
    }
    if let Some(most) = most.filter(|most| found > *most) {
        problems.push(format!("{field}: must be at most {most}{unit}, found {found}"));
    }
}
