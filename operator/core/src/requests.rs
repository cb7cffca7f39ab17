//! What a container has reserved on its node, in numbers that can be compared.
//!
//! Built from a pod's or a template's resources ([`Requests::of`]); `build` compares templates by it, `plan` sees which active
//! proxies have less than they should. Leaves out every resource but CPU and memory: no other can be changed while a
//! container runs.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::units::{parse_cpu_millis, parse_memory_bytes};

/// The resources that can be changed while a container runs.
pub(crate) const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// CPU and memory that are reserved, or free; nothing of either is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Requests {
    /// Thousandths of a CPU.
    pub cpu_millis: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
}

impl Requests {
    /// What a container with these resources reserves. As for the API server, a limit stands in for a request that is not
    /// there. A quantity that nobody understands counts as none.
    pub fn of(resources: &ResourceRequirements) -> Self {
        Self::from_quantities(&effective(resources))
    }

    /// The CPU and memory among quantities by resource.
    pub(crate) fn from_quantities(quantities: &BTreeMap<String, Quantity>) -> Self {
        let of = |resource: &str| {
            let quantity = quantities.get(resource);
            quantity.and_then(|quantity| amount(resource, quantity)).unwrap_or(0)
        };
        Self {
            cpu_millis: of("cpu"),
            memory_bytes: of("memory"),
        }
    }

    /// Both as quantities, as a pod takes them.
    pub fn to_quantities(self) -> BTreeMap<String, Quantity> {
        const MEBIBYTE: u64 = 1 << 20;
        let memory = match (self.memory_bytes / MEBIBYTE, self.memory_bytes % MEBIBYTE) {
            (mebibytes, 0) if mebibytes > 0 => format!("{mebibytes}Mi"),
            _ => self.memory_bytes.to_string(),
        };
        let both = [format!("{}m", self.cpu_millis), memory].map(Quantity);
        RESIZABLE.into_iter().map(str::to_owned).zip(both).collect()
    }

    /// Whether it is at least as much of both.
    pub fn covers(self, other: Self) -> bool {
        self.cpu_millis >= other.cpu_millis && self.memory_bytes >= other.memory_bytes
    }

    /// What is missing to `other` in each.
    #[must_use]
    pub fn missing_to(self, other: Self) -> Self {
        Self {
            cpu_millis: other.cpu_millis.saturating_sub(self.cpu_millis),
            memory_bytes: other.memory_bytes.saturating_sub(self.memory_bytes),
        }
    }
}

/// Requests of CPU and memory, with the limit where there is no request.
pub(crate) fn effective(resources: &ResourceRequirements) -> BTreeMap<String, Quantity> {
    let of = |map: &Option<BTreeMap<String, Quantity>>, key: &str| map.as_ref().and_then(|map| map.get(key)).cloned();
    let value = |key: &str| of(&resources.requests, key).or_else(|| of(&resources.limits, key));
    RESIZABLE
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), value(key)?)))
        .collect()
}

/// A quantity of CPU or memory in its smallest unit, for comparisons; nothing when nobody understands it.
pub(crate) fn amount(resource: &str, quantity: &Quantity) -> Option<u64> {
    match resource {
        "cpu" => parse_cpu_millis(&quantity.0).ok(),
        "memory" => parse_memory_bytes(&quantity.0).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(resources: serde_json::Value) -> Requests {
        Requests::of(&serde_json::from_value(resources).expect("resources"))
    }

    #[test]
    fn a_limit_stands_in_for_a_request_that_is_not_there() {
        let both = json!({"requests": {"cpu": "50m"}, "limits": {"cpu": "2", "memory": "1Gi"}});
        let expected = Requests {
            cpu_millis: 50,
            memory_bytes: 1 << 30,
        };
        assert_eq!(of(both), expected);
        assert_eq!(of(json!({})), Requests::default());
    }

    #[test]
    fn the_same_amount_in_other_words_is_the_same() {
        assert_eq!(
            of(json!({"requests": {"cpu": "1000m"}})),
            of(json!({"requests": {"cpu": "1"}}))
        );
    }

    #[test]
    fn numbers_become_quantities_again() {
        for (quantities, expected) in [
            (json!({"cpu": "50m", "memory": "96Mi"}), ["50m", "96Mi"]),
            (json!({"cpu": "2", "memory": "100k"}), ["2000m", "100000"]),
            (json!({}), ["0m", "0"]),
        ] {
            let requests = of(json!({"requests": quantities}));
            assert_eq!(
                json!(requests.to_quantities()),
                json!({"cpu": expected[0], "memory": expected[1]})
            );
            let again = Requests::from_quantities(&requests.to_quantities());
            assert_eq!(again, requests);
        }
    }

    #[test]
    fn one_covers_another_when_it_has_as_much_of_both() {
        let requests = |cpu_millis, memory_bytes| Requests {
            cpu_millis,
            memory_bytes,
        };
        assert!(requests(2, 2).covers(requests(2, 1)));
        assert!(!requests(9, 0).covers(requests(2, 1)));
        assert_eq!(requests(9, 0).missing_to(requests(2, 1)), requests(0, 1));
    }
}
