//! The `CustomResourceDefinition` of `MqttCluster`.
//!
//! The derived one, with what a derive cannot say: rules on `metadata`, and schemas of Kubernetes' own types without
//! their prose, which would fill the definition with a quarter of a megabyte that `kubectl explain pod` has as well.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, ValidationRule,
};
use kube_core::CustomResourceExt;

use crate::{MqttCluster, NAME_MAX_CHARS};

/// Where schemas of Kubernetes' own types begin: below a property of one of these names.
const KUBERNETES_TYPES: [&str; 3] = ["affinity", "tolerations", "topologySpreadConstraints"];

/// Returns the definition that `crds/` and the chart carry.
pub fn mqtt_cluster_crd() -> CustomResourceDefinition {
    let mut crd = MqttCluster::crd();
    for version in &mut crd.spec.versions {
        let Some(root) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) else {
            continue;
        };
        tidy(root, false);
        root.x_kubernetes_validations = Some(name_rules());
    }
    crd
}

fn name_rules() -> Vec<ValidationRule> {
    let rule = |rule: String, message: String| ValidationRule {
        rule,
        message: Some(message),
        ..ValidationRule::default()
    };
    vec![
        rule(
            format!("size(self.metadata.name) <= {NAME_MAX_CHARS}"),
            format!(
                "metadata.name must have at most {NAME_MAX_CHARS} characters: names of Services and pods are made from it"
            ),
        ),
        rule(
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')".to_owned(),
            "metadata.name must be lower-case letters, digits and -, beginning with a letter: a Service has the same name"
                .to_owned(),
        ),
    ]
}

/// Removes integer formats that the API server does not know, and the prose of Kubernetes' own types.
fn tidy(schema: &mut JSONSchemaProps, is_kubernetes_type: bool) {
    if schema
        .format
        .as_deref()
        .is_some_and(|format| format.starts_with("uint"))
    {
        schema.format = None;
    }
    for (name, property) in schema.properties.iter_mut().flatten() {
        if is_kubernetes_type {
            property.description = None;
        }
        tidy(
            property,
            is_kubernetes_type || KUBERNETES_TYPES.contains(&name.as_str()),
        );
    }
    let below = |child: &mut JSONSchemaProps| {
        // Quantities of `resources`.
        if is_kubernetes_type || child.x_kubernetes_int_or_string == Some(true) {
            child.description = None;
        }
        tidy(child, is_kubernetes_type);
    };
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => below(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(below),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        below(values);
    }
}
