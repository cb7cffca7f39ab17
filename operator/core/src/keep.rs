//! What a cluster keeps until somebody asks for something else: its default images, and the templates of its pods.
//!
//! A new version of the operator brings other default images, and may build other pod templates from the same resource.
//! Neither may move a client by itself. So every Deployment and StatefulSet carries a [`Record`] of how it was made, and an
//! operator that finds one
//!
//! - fills in images from the record instead of its own defaults ([`choose_defaults`], before `validate`), and
//! - leaves a pod template alone whose resource asks for nothing else ([`decide_keep`], after `build`), even if it would
//!   build another one today.
//!
//! A new value of the annotation `freshet.dev/upgrade` asks for the present images and templates; so does any change of
//! the resource that needs new pods, for the templates. Records of what never served are passed over: a default that could
//! not be pulled is put right by the next one. The reconciler calls both functions, and applies nothing that is kept.

use std::collections::BTreeMap;

use freshet_operator_api::MqttCluster;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::build::{Children, short_hash};
use crate::labels;
use crate::observe::{Observed, ProxyDeployment, StoragePod, StorageSet};
use crate::validate::{DefaultImage, DefaultImages, ValidatedCluster, image_reference};

/// How a Deployment or StatefulSet was made; stands in its annotations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Hash of what the resource asked of the pods; empty when nothing is recorded.
    pub asked: String,
    /// The image that filled in what the resource left open.
    pub default_image: String,
    /// Value of the resource's annotation `freshet.dev/upgrade` by which that image was taken.
    pub upgrade: Option<String>,
}

impl Record {
    /// Reads what an object carries.
    pub fn read(metadata: &ObjectMeta) -> Self {
        let of = |key: &str| metadata.annotations.as_ref().and_then(|all| all.get(key)).cloned();
        Self {
            asked: of(labels::ASKED).unwrap_or_default(),
            default_image: of(labels::DEFAULT_IMAGE).unwrap_or_default(),
            upgrade: of(labels::UPGRADE),
        }
    }

    /// The annotations that say it.
    pub(crate) fn annotations(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::from([
            (labels::ASKED.to_owned(), self.asked.clone()),
            (labels::DEFAULT_IMAGE.to_owned(), self.default_image.clone()),
        ]);
        if let Some(upgrade) = &self.upgrade {
            all.insert(labels::UPGRADE.to_owned(), upgrade.clone());
        }
        all
    }
}

/// Chooses the images that fill in what the resource leaves open: those that the cluster began with or was upgraded to, or
/// `offered` by the operator when it is new, or asks for them.
///
/// `served_last` is the revision that served when the status was written last.
pub fn choose_defaults(
    resource: &MqttCluster,
    observed: &Observed,
    served_last: Option<&str>,
    offered: &DefaultImages,
) -> DefaultImages {
    let annotations = resource.metadata.annotations.as_ref();
    let asked = annotations
        .and_then(|all| all.get(labels::UPGRADE))
        .map(String::as_str)
        .filter(|value| !value.is_empty());
    let proxies = served(observed, served_last).into_iter().map(|d| &d.record);
    let storage = storage_that_ran(observed).into_iter().map(|set| &set.record);
    DefaultImages {
        proxy: default_image(proxies, asked, &offered.proxy),
        storage: default_image(storage, asked, &offered.storage),
    }
}

fn default_image<'a>(
    mut records: impl Iterator<Item = &'a Record>,
    asked: Option<&str>,
    offered: &DefaultImage,
) -> DefaultImage {
    // An annotation that was removed asks for nothing: what it brought stays.
    let heeded = |record: &&Record| {
        !record.default_image.is_empty() && asked.is_none_or(|asked| record.upgrade.as_deref() == Some(asked))
    };
    match records.find(heeded) {
        Some(record) => DefaultImage {
            reference: record.default_image.clone(),
            upgrade: record.upgrade.clone(),
        },
        None => DefaultImage {
            reference: offered.reference.clone(),
            upgrade: asked.map(str::to_owned),
        },
    }
}

/// Deployments whose proxies serve or have served, the youngest first.
fn served<'a>(observed: &'a Observed, served_last: Option<&str>) -> Vec<&'a ProxyDeployment> {
    let has_served = |deployment: &&ProxyDeployment| {
        let revision = deployment.revision.as_str();
        let mut proxies = observed.proxies.iter().filter(|proxy| proxy.revision == revision);
        !deployment.is_deleting && (served_last == Some(revision) || proxies.any(|proxy| !proxy.is_warm()))
    };
    let mut all: Vec<_> = observed.deployments.iter().filter(has_served).collect();
    all.sort_by_key(|deployment| std::cmp::Reverse(deployment.created_s));
    all
}

/// The StatefulSet, unless none of its pods has ever started.
fn storage_that_ran(observed: &Observed) -> Option<&StorageSet> {
    let never_ran = |pod: &StoragePod| {
        let pod = &pod.pod;
        let is_stuck = pod.trouble.as_ref().is_some_and(|trouble| trouble.needs_somebody());
        is_stuck && !pod.is_ready && pod.restarts == 0 && pod.last_end.is_none()
    };
    let pods = &observed.storage_pods;
    let is_stuck = !pods.is_empty() && pods.iter().all(never_ran);
    observed.storage_set.as_ref().filter(|_| !is_stuck)
}

/// What is decided from.
#[derive(Debug, Clone, Copy)]
pub struct KeepInput<'a> {
    /// As it was read.
    pub resource: &'a MqttCluster,
    /// As it was understood, with what [`choose_defaults`] chose.
    pub cluster: &'a ValidatedCluster,
    /// As this operator builds them.
    pub children: &'a Children,
    /// What was read of the children.
    pub observed: &'a Observed,
    /// The revision that served when the status was written last.
    pub served_last: Option<&'a str>,
    /// This operator's images for clusters that name none.
    pub offered: &'a DefaultImages,
    /// Version of this operator.
    pub version: &'a str,
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// The revision of the proxies to go for: what this operator builds, or one that is there and is kept.
    pub proxy_revision: String,
    /// The Deployment of that revision has another template than this operator builds: it is scaled and never applied.
    pub keeps_proxies: bool,
    /// The StatefulSet has another template than this operator builds: it is scaled and never applied.
    pub keeps_storage: bool,
    /// What this operator would do otherwise, and how to ask for it; nothing when there is nothing newer.
    pub newer: Option<String>,
}

/// Decides which templates are left alone, and says what there is instead.
pub fn decide_keep(input: &KeepInput<'_>) -> Keep {
    let KeepInput { cluster, children, .. } = *input;
    let built = &children.proxy_revision;
    let asked = &cluster.proxy.pods.record.asked;
    let is_there = |deployment: &ProxyDeployment| deployment.revision == *built && !deployment.is_deleting;
    let kept = if input.observed.deployments.iter().any(is_there) {
        None
    } else {
        let served = served(input.observed, input.served_last);
        served
            .into_iter()
            .find(|deployment| deployment.record.asked == *asked)
            .map(|deployment| deployment.revision.clone())
    };
    let keeps_storage = storage_that_ran(input.observed).is_some_and(|set| {
        set.record.asked == cluster.storage.pods.record.asked && set.revision != children.storage_revision
    });
    Keep {
        keeps_proxies: kept.is_some(),
        keeps_storage,
        newer: newer(input, kept.is_some(), keeps_storage),
        proxy_revision: kept.unwrap_or_else(|| built.clone()),
    }
}

/// Says what this operator would do otherwise, and how to ask for it.
fn newer(input: &KeepInput<'_>, keeps_proxies: bool, keeps_storage: bool) -> Option<String> {
    let KeepInput {
        resource,
        cluster,
        offered,
        ..
    } = *input;
    let spec = &resource.spec;
    let of = |component: &str, runs: &str, brings: String, keeps: bool| {
        if brings != runs {
            Some(format!("{component}: {runs}, this operator brings {brings}"))
        } else {
            keeps.then(|| format!("{component}: another operator's pod template"))
        }
    };
    let proxies = of(
        "proxies",
        &cluster.proxy.pods.image,
        image_reference(&spec.proxy.image, &offered.proxy.reference),
        keeps_proxies,
    );
    let storage = of(
        "storage",
        &cluster.storage.pods.image,
        image_reference(&spec.storage.image, &offered.storage.reference),
        keeps_storage,
    );
    let effects = [
        proxies.as_ref().map(|_| "every client reconnects once"),
        storage.as_ref().map(|_| match cluster.storage.volume {
            Some(_) => "the storage node restarts",
            None => "the storage node restarts, which loses retained messages and sessions",
        }),
    ];
    let effects: Vec<&str> = effects.into_iter().flatten().collect();
    let differences: Vec<String> = [proxies, storage].into_iter().flatten().collect();
    (!differences.is_empty()).then(|| {
        format!(
            "{}; to take it: kubectl annotate mqc/{} {}={} --overwrite; then {}",
            differences.join("; "),
            cluster.name,
            labels::UPGRADE,
            new_value(input),
            effects.join(", and ")
        )
    })
}

/// A value that the annotation has not had.
fn new_value(input: &KeepInput<'_>) -> String {
    let version = input.version;
    let pods = [&input.cluster.proxy.pods, &input.cluster.storage.pods];
    if pods.iter().all(|pods| pods.record.upgrade.as_deref() != Some(version)) {
        return version.to_owned();
    }
    let offered = format!("{} {}", input.offered.proxy.reference, input.offered.storage.reference);
    format!("{version}-{}", short_hash(offered.as_bytes()))
}

#[cfg(test)]
mod tests;
