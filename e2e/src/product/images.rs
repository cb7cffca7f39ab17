//! The product's images: one per role, an OCI archive each, holding one program and what it is linked with.

use super::cargo;
use crate::node::binaries::cache_folder;
use crate::oci::{self, Archive, Image};
use crate::progress::Step;

/// Where images are said to come from; with archives no registry is asked.
const REGISTRY: &str = "docker.io";

/// A process of the product that has an image of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Role {
    /// Name of the image and of the chart's values for it.
    name: &'static str,
    /// The program.
    binary: &'static str,
    title: &'static str,
}

const ROLES: [Role; 3] = [
    Role {
        name: "operator",
        binary: "freshet-operator",
        title: "Freshet operator",
    },
    Role {
        name: "proxy",
        binary: "freshet-proxy",
        title: "Freshet proxy",
    },
    Role {
        name: "storage",
        binary: "freshet-storage-node",
        title: "Freshet storage node",
    },
];

/// The images to install.
#[derive(Debug, Clone)]
pub enum Images {
    /// Built here, in the order of [`ROLES`].
    Built(Vec<Archive>),
    /// Pulled by the nodes, from this registry.
    InRegistry(Option<String>),
}

impl Images {
    /// Images that the nodes pull.
    #[must_use]
    pub fn in_registry(registry: Option<&str>) -> Self {
        Self::InRegistry(registry.map(str::to_owned))
    }

    /// The archives, in the order operator, proxy, storage, when the images were built here.
    #[must_use]
    pub fn archives(&self) -> Option<&[Archive]> {
        match self {
            Self::Built(archives) => Some(archives),
            Self::InRegistry(_) => None,
        }
    }

    /// What the chart is told: names and values.
    #[must_use]
    pub fn chart_values(&self) -> Vec<(String, String)> {
        match self {
            // The tag names the content: a program that changed rolls out, and one that did not stays.
            Self::Built(archives) => ROLES
                .iter()
                .zip(archives)
                .filter_map(|(role, archive)| {
                    let (_, tag) = archive.pinned_name().rsplit_once(':')?;
                    Some((format!("image.{}.tag", role.name), tag.to_owned()))
                })
                .collect(),
            Self::InRegistry(None) => Vec::new(),
            Self::InRegistry(Some(registry)) => ROLES
                .iter()
                .map(|role| {
                    (
                        format!("image.{}.repository", role.name),
                        format!("{registry}/freshet/{}", role.name),
                    )
                })
                .collect(),
        }
    }
}

/// Builds the programs, and writes an archive for each.
///
/// # Errors
/// When cargo fails, or a file cannot be read or written.
pub async fn build(step: &Step) -> anyhow::Result<Images> {
    let programs = cargo::build(&ROLES.map(|role| role.binary)).await?;
    step.note("programs are built");
    let folder = cache_folder()?.join("images");
    let mut archives = Vec::with_capacity(ROLES.len());
    for (role, program) in ROLES.iter().zip(programs) {
        let path_in_image = format!("/usr/bin/{}", role.binary);
        let image = Image {
            name: format!("{REGISTRY}/freshet/{}:{VERSION}", role.name),
            entrypoint: vec![path_in_image.clone()],
            user: oci::NON_ROOT.to_owned(),
            labels: labels(role),
            entries: oci::files_of_program(&program, &path_in_image).await?,
        };
        archives.push(image.write(&folder.join(format!("freshet-{}-{VERSION}.tar", role.name)))?);
    }
    let total_bytes: u64 = archives.iter().map(|archive| archive.size_bytes).sum();
    step.outcome(format!(
        "{} images, {:.1} MB, in {}",
        archives.len(),
        total_bytes as f64 / 1e6,
        folder.display()
    ));
    Ok(Images::Built(archives))
}

/// Builds a proxy that makes a mistake when `FRESHET_PLANTED_FAULT` says so, and writes an archive for it. No product has
/// that variable.
///
/// # Errors
/// As [`build`].
pub async fn build_proxy_with_mistakes() -> anyhow::Result<Archive> {
    let [_, role, _] = &ROLES;
    let program = cargo::build_with_mistakes(role.binary).await?;
    let path_in_image = format!("/usr/bin/{}", role.binary);
    let image = Image {
        name: format!("{REGISTRY}/freshet/{}-with-mistakes:{VERSION}", role.name),
        entrypoint: vec![path_in_image.clone()],
        user: oci::NON_ROOT.to_owned(),
        labels: labels(role),
        entries: oci::files_of_program(&program, &path_in_image).await?,
    };
    let folder = cache_folder()?.join("images");
    image.write(&folder.join(format!("freshet-{}-with-mistakes-{VERSION}.tar", role.name)))
}

/// The version of the workspace, which all images carry.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// OCI image-spec, annotations.md; nothing in it that changes while the content does not.
fn labels(role: &Role) -> Vec<(String, String)> {
    [("title", role.title), ("version", VERSION), ("licenses", "Apache-2.0")]
        .map(|(key, value)| (format!("org.opencontainers.image.{key}"), value.to_owned()))
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_is_told_a_tag_that_names_the_content() {
        let archive = |role: &Role| Archive {
            path: "x".into(),
            names: vec![
                format!("docker.io/freshet/{}:1", role.name),
                format!("docker.io/freshet/{}:1-ab", role.name),
            ],
            digest: "sha256:ab".into(),
            size_bytes: 1,
        };
        let values = Images::Built(ROLES.iter().map(archive).collect()).chart_values();
        assert_eq!(values[2], ("image.storage.tag".to_owned(), "1-ab".to_owned()));
        assert_eq!(values.len(), ROLES.len());
    }

    #[test]
    fn a_registry_is_put_before_the_names() {
        let values = Images::in_registry(Some("registry.example:5000")).chart_values();
        assert_eq!(
            values[0],
            (
                "image.operator.repository".into(),
                "registry.example:5000/freshet/operator".into()
            )
        );
        assert!(Images::in_registry(None).chart_values().is_empty());
    }
}
