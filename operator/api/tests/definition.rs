//! The definition as a whole: what holds for every field.

// Helpers of tests may end a test.
#![allow(clippy::expect_used)]

use freshet_operator_api::mqtt_cluster_crd;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// What the last sentence of a field's documentation can be.
const TAKEN_UP: [&str; 4] = ["Live", "New connections", "New revision", "Immutable"];

fn spec() -> JSONSchemaProps {
    let version = mqtt_cluster_crd().spec.versions.remove(0);
    let root = version
        .schema
        .and_then(|schema| schema.open_api_v3_schema)
        .expect("a schema");
    root.properties
        .and_then(|mut properties| properties.remove("spec"))
        .expect("a spec")
}

/// Calls `visit` with the path of every field that users write a value for. What is below Kubernetes' own types is theirs.
fn for_each_field(path: &str, schema: &JSONSchemaProps, visit: &mut impl FnMut(&str, &JSONSchemaProps)) {
    for (name, property) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        let is_theirs = ["affinity", "tolerations", "topologySpreadConstraints"].contains(&name.as_str());
        let items = match &property.items {
            Some(JSONSchemaPropsOrArray::Schema(items)) if !is_theirs && items.properties.is_some() => Some(items),
            _ => None,
        };
        if let Some(items) = items {
            for_each_field(&path, items, visit);
        } else if !is_theirs && property.properties.is_some() {
            for_each_field(&path, property, visit);
        } else {
            visit(&path, property);
        }
    }
}

#[test]
fn every_field_is_documented() {
    for_each_field("spec", &spec(), &mut |path, field| {
        let said = field.description.as_deref().unwrap_or_default();
        assert!(said.len() > 15, "{path} says `{said}`");
    });
}

#[test]
fn every_field_says_how_a_change_is_taken_up() {
    // Parts of a list or a value that is taken up as a whole; the whole says it.
    let parts = ["spec.imagePullSecrets.name", "resources.requests", "resources.limits"];
    for_each_field("spec", &spec(), &mut |path, field| {
        let said = field.description.as_deref().unwrap_or_default().replace('\n', " ");
        let says = TAKEN_UP
            .iter()
            .any(|word| said.contains(&format!("{word}.")) || said.contains(&format!("{word} ")));
        let says = says || said.contains("Live:");
        assert!(
            says || parts.iter().any(|part| path.ends_with(part)),
            "{path} says `{said}`"
        );
    });
}

#[test]
fn every_list_text_and_map_is_bounded() {
    // Enumerations and patterns of a fixed length bound themselves; services take annotations of any text.
    for_each_field("spec", &spec(), &mut |path, field| match field.type_.as_deref() {
        Some("array") => assert!(field.max_items.is_some(), "{path} has no maxItems"),
        Some("string") => assert!(
            field.max_length.is_some() || field.enum_.is_some(),
            "{path} has no maxLength"
        ),
        Some("object") => {
            let is_map = matches!(field.additional_properties, Some(JSONSchemaPropsOrBool::Schema(_)));
            assert!(!is_map || field.max_properties.is_some(), "{path} has no maxProperties");
        }
        _ => {}
    });
}

#[test]
fn every_field_outside_of_lists_has_a_default_or_may_be_absent() {
    let spec = spec();
    assert_eq!(spec.required, None);
    for (name, section) in spec.properties.iter().flatten() {
        assert!(section.required.is_none(), "{name} requires {:?}", section.required);
    }
}

#[test]
fn the_definition_fits_into_the_annotation_of_a_client_side_apply() {
    let text = serde_json::to_string(&mqtt_cluster_crd()).expect("JSON");
    assert!(text.len() < 200 * 1024, "{} bytes", text.len());
}

#[test]
fn the_scale_subresource_counts_active_proxies_only() {
    let version = mqtt_cluster_crd().spec.versions.remove(0);
    let scale = version
        .subresources
        .and_then(|subresources| subresources.scale)
        .expect("a scale subresource");
    assert_eq!(scale.spec_replicas_path, ".spec.proxy.replicas");
    assert_eq!(scale.status_replicas_path, ".status.proxy.active");
    assert_eq!(scale.label_selector_path.as_deref(), Some(".status.proxy.selector"));
}
