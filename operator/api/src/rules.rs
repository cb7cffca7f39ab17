//! CEL rules that more than one field shares, as values of `x-kubernetes-validations`. Each message names the field,
//! because that is all that `kubectl apply` shows.

use serde_json::{Value, json};

/// Digits per number keep the product within what CEL's durations hold.
const DURATION_FORM: &str = "^([0-9]{1,6}(ms|s|m|h)){1,3}$";
const SIZE_FORM: &str = "^[0-9]{1,12}(k|M|G|T|Ki|Mi|Gi|Ti)?$";

/// One rule with its message.
pub(crate) fn rule(rule: &str, message: &str) -> Value {
    json!({"rule": rule, "message": message})
}

/// A duration from `min` to `max`, both inclusive and written as durations themselves.
pub(crate) fn duration_between(field: &str, min: &str, max: &str) -> Value {
    json!([rule(
        &format!(
            "self.matches('{DURATION_FORM}') && duration(self) >= duration('{min}') && duration(self) <= duration('{max}')"
        ),
        &format!("{field} must be a duration such as 500ms, 30s or 5m, from {min} to {max}"),
    )])
}

/// 0, which turns something off, or a duration from `min` to `max`, both inclusive and written as durations themselves.
pub(crate) fn duration_zero_or_between(field: &str, min: &str, max: &str) -> Value {
    json!([rule(
        &format!(
            "self.matches('{DURATION_FORM}') && (duration(self) == duration('0s') || \
             (duration(self) >= duration('{min}') && duration(self) <= duration('{max}')))"
        ),
        &format!("{field} must be 0s or a duration such as 500ms, 30s or 5m, from {min} to {max}"),
    )])
}

/// A size from `min` to `max` bytes, both inclusive and written as sizes themselves.
pub(crate) fn size_between(field: &str, min: &str, max: &str) -> Value {
    json!([rule(
        &format!(
            "self.matches('{SIZE_FORM}') && quantity(self).compareTo(quantity('{min}')) >= 0 && \
             quantity(self).compareTo(quantity('{max}')) <= 0"
        ),
        &format!("{field} must be a number of bytes such as 4096, 64Ki or 1Mi, from {min} to {max}"),
    )])
}

/// A text that cannot take another value once the resource exists, for fields that always have a value.
pub(crate) fn unchanged(path: &str, why: &str) -> Value {
    rule(
        &format!("self.{path} == oldSelf.{path}"),
        &format!("{path} cannot be changed: {why}"),
    )
}
