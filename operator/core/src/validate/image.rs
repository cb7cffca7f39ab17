//! Which image pods run: what the resource says, filled in from a default.

use freshet_operator_api as api;

/// Images of clusters that name none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultImages {
    /// Image of the proxies.
    pub proxy: DefaultImage,
    /// Image of the storage nodes.
    pub storage: DefaultImage,
}

/// The image that fills in what a resource leaves open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultImage {
    /// Full reference: `freshet/proxy:0.1.0`, or with a digest.
    pub reference: String,
    /// Value of the resource's annotation `freshet.dev/upgrade` by which the cluster has taken it; nothing for the image
    /// that it began with.
    pub upgrade: Option<String>,
}

impl From<&str> for DefaultImage {
    fn from(reference: &str) -> Self {
        Self {
            reference: reference.to_owned(),
            upgrade: None,
        }
    }
}

/// The reference of an image: what the resource says wins, part by part, over the default. A digest wins over tags; a
/// tag or a repository of the resource does away with the default's digest, which belongs to another image.
pub(crate) fn image_reference(image: &api::Image, default: &str) -> String {
    let (default_name, default_digest) = match default.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (default, None),
    };
    // A colon after the last slash begins a tag; one before it, a port.
    let name_start = default_name.rfind('/').unwrap_or(0);
    let (default_repository, default_tag) = match default_name[name_start..].find(':') {
        Some(colon) => (
            &default_name[..name_start + colon],
            Some(&default_name[name_start + colon + 1..]),
        ),
        None => (default_name, None),
    };
    let repository = if image.repository.is_empty() {
        default_repository
    } else {
        &image.repository
    };
    let is_default_image = image.repository.is_empty() && image.tag.is_empty();
    let digest = match image.digest.as_str() {
        "" if is_default_image => default_digest,
        "" => None,
        digest => Some(digest),
    };
    let tag = if image.tag.is_empty() {
        default_tag
    } else {
        Some(image.tag.as_str())
    };
    match (digest, tag) {
        (Some(digest), _) => format!("{repository}@{digest}"),
        (None, Some(tag)) => format!("{repository}:{tag}"),
        (None, None) => repository.to_owned(),
    }
}
