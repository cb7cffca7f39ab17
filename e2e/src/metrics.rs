//! Metrics of a pod of Freshet, as tests of a cluster read them.

use std::str::FromStr;

use anyhow::Result;

use crate::kubectl::Kubectl;

/// What a pod serves at `/metrics`, by way of the API server.
///
/// # Errors
/// When there is no such pod, or it does not answer.
pub async fn scrape(kubectl: &Kubectl, namespace: &str, pod: &str) -> Result<String> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:9090/proxy/metrics");
    kubectl.run(&["get", "--raw", &path]).await
}

/// The samples of one metric: labels as they are written, and value. Those whose value is no `T` are left out.
pub fn samples<'a, T: FromStr>(text: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, T)> {
    text.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
        let (labels, value) = rest.rsplit_once(' ')?;
        Some((labels, value.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_those_of_the_metric_and_of_no_other() {
        let text = "a_total{x=\"1\"} 2\na_total{x=\"2\"} 3\na_total_b 7\n# TYPE a_total counter\na 5\n";
        let of = |name| samples::<u64>(text, name).collect::<Vec<_>>();
        assert_eq!(of("a_total"), [("{x=\"1\"}", 2), ("{x=\"2\"}", 3)]);
        assert_eq!(of("a"), [("", 5)]);
    }
}
