//! `podTemplate`: from what a user wrote to a typed part of a pod template.

use freshet_operator_api::PodTemplateOverlay;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

use crate::labels;

/// Parses an overlay.
///
/// # Errors
/// A sentence that says what is wrong: a field that pod templates do not have, a value of the wrong type, or a label that
/// the operator itself needs.
pub(super) fn parse(overlay: &PodTemplateOverlay) -> Result<PodTemplateSpec, String> {
    let written = Value::Object(overlay.0.clone());
    let template: PodTemplateSpec = serde_json::from_value(written.clone()).map_err(|error| error.to_string())?;
    // The types pass over fields they do not know; what does not come back was not understood.
    let understood = serde_json::to_value(&template).map_err(|error| error.to_string())?;
    if let Some(path) = first_lost(&written, &understood, "") {
        return Err(format!("`{path}` is not a field of a pod template"));
    }
    let label_keys = template
        .metadata
        .iter()
        .flat_map(|metadata| metadata.labels.iter().flatten());
    if let Some((label, _)) = label_keys.into_iter().find(|(label, _)| labels::is_reserved(label)) {
        return Err(format!("label `{label}` belongs to the operator"));
    }
    Ok(template)
}

/// The path of the first field of `written` that is not in `understood`. Nulls and empty maps and lists say nothing, and
/// may vanish.
fn first_lost(written: &Value, understood: &Value, path: &str) -> Option<String> {
    match written {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            match understood.get(name) {
                Some(counterpart) => first_lost(value, counterpart, &path),
                None if says_nothing(value) => None,
                None => Some(path),
            }
        }),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            let counterpart = understood.get(index).unwrap_or(&Value::Null);
            first_lost(item, counterpart, &format!("{path}[{index}]"))
        }),
        _ => None,
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(says_nothing),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn overlay(value: Value) -> PodTemplateOverlay {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn nothing_is_an_overlay() {
        assert_eq!(parse(&overlay(json!({}))), Ok(PodTemplateSpec::default()));
    }

    #[test]
    fn fields_of_a_pod_template_are_understood() {
        let template = parse(&overlay(json!({
            "metadata": {"annotations": {"a": "b"}},
            "spec": {"hostNetwork": false, "containers": [{"name": "proxy", "env": [{"name": "A", "value": "1"}]}], "volumes": []},
        })));
        let spec = template.expect("a template").spec.expect("a spec");
        assert_eq!(spec.containers[0].name, "proxy");
    }

    #[test]
    fn a_misspelt_field_is_named_with_its_path() {
        let problem = parse(&overlay(
            json!({"spec": {"containers": [{"name": "proxy", "environment": []}, {"name": "x", "imgae": "y"}]}}),
        ));
        assert_eq!(
            problem,
            Err("`spec.containers[1].imgae` is not a field of a pod template".to_owned())
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_is_a_problem() {
        assert!(parse(&overlay(json!({"spec": {"containers": "proxy"}}))).is_err());
    }

    #[test]
    fn labels_of_the_operator_cannot_be_set() {
        for label in ["freshet.dev/role", "app.kubernetes.io/instance"] {
            let problem = parse(&overlay(json!({"metadata": {"labels": {label: "x"}}})));
            assert_eq!(problem, Err(format!("label `{label}` belongs to the operator")));
        }
    }

    #[test]
    fn what_says_nothing_may_be_written_anywhere() {
        let written = json!({"spec": {"containers": [], "nothing": null, "something": {"a": null, "b": {}, "c": []}}});
        assert!(parse(&overlay(written)).is_ok());
        let written = json!({"spec": {"containers": [], "something": {"a": null, "b": false}}});
        assert_eq!(
            parse(&overlay(written)),
            Err("`spec.something` is not a field of a pod template".to_owned())
        );
    }
}
