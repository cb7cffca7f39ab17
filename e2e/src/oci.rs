//! Writes container images as OCI archives, without a Docker daemon or a registry.
//!
//! An archive is a tar of three JSON documents and one layer (OCI image-spec 1.1, image-layout.md). The same input
//! gives the same bytes: entries are sorted, belong to root and carry no time, so that an image which did not change
//! keeps its digest and need not be loaded again.

mod program;
mod tarball;

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use program::files_of_program;
pub use tarball::{Content, Entry};

/// The user that images run as unless told otherwise; nobody on any node.
pub const NON_ROOT: &str = "65532:65532";

/// What an image holds and how it is started.
#[derive(Debug, Clone)]
pub struct Image {
    /// Full reference, such as `docker.io/freshet/proxy:0.1.0`.
    pub name: String,
    /// What is run when a pod says nothing else.
    pub entrypoint: Vec<String>,
    /// User and group ids, `user:group`.
    pub user: String,
    /// Annotations of the image, such as `org.opencontainers.image.version`.
    pub labels: Vec<(String, String)>,
    /// Its files.
    pub entries: Vec<Entry>,
}

/// An image archive that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The file.
    pub path: PathBuf,
    /// The references under which it is imported.
    pub names: Vec<String>,
    /// Digest of the manifest, `sha256:…`.
    pub digest: String,
    /// Length of the file.
    pub size_bytes: u64,
}

impl Archive {
    /// A reference that names this content and no other: the image's own with a part of the digest in the tag.
    #[must_use]
    pub fn pinned_name(&self) -> &str {
        self.names.last().map_or("", String::as_str)
    }
}

impl Image {
    /// Writes the archive.
    ///
    /// It is imported under the image's name and under that name with a tag that holds a part of the digest, which a
    /// pod can use to have this very content.
    ///
    /// # Errors
    /// When a file cannot be read or the archive cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<Archive> {
        let layer = tarball::write(&self.entries)?;
        let layer_digest = digest(&layer);
        let config = serde_json::to_vec(&self.config(&layer_digest))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        }))?;
        let manifest_digest = digest(&manifest);
        let names = vec![self.name.clone(), pinned(&self.name, &manifest_digest)];
        let manifests: Vec<Value> = names.iter().map(|name| named_descriptor(&manifest, name)).collect();
        let index = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": manifests,
        }))?;
        let blob = |content: Vec<u8>| Entry::file(&blob_path(&digest(&content)), 0o644, content);
        let archive = tarball::write(&[
            Entry::file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            Entry::file("index.json", 0o644, index),
            blob(manifest),
            blob(config),
            blob(layer),
        ])?;
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        crate::node::instance::write_atomically(path, &archive)?;
        let size_bytes = archive.len() as u64;
        Ok(Archive {
            path: path.to_path_buf(),
            names,
            digest: manifest_digest,
            size_bytes,
        })
    }

    fn config(&self, layer_digest: &str) -> Value {
        let labels: serde_json::Map<String, Value> = self
            .labels
            .iter()
            .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
            .collect();
        json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {"User": self.user, "Entrypoint": self.entrypoint, "WorkingDir": "/", "Labels": labels},
            // The layer is not compressed, and so is its own content.
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        })
    }
}

/// The architecture of this machine as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(content), "size": content.len()})
}

/// Two annotations, because tools differ in which one they read.
fn named_descriptor(manifest: &[u8], name: &str) -> Value {
    let mut named = descriptor("application/vnd.oci.image.manifest.v1+json", manifest);
    named["annotations"] = json!({
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": tag(name),
    });
    named["platform"] = json!({"architecture": architecture(), "os": "linux"});
    named
}

/// Names this content: `…/proxy:0.1.0` with `sha256:3f2a91…` becomes `…/proxy:0.1.0-3f2a91c0d4e5`.
fn pinned(name: &str, digest: &str) -> String {
    let short = digest.trim_start_matches("sha256:").get(..12).unwrap_or_default();
    format!("{name}-{short}")
}

fn tag(name: &str) -> &str {
    name.rsplit_once(':').map_or("latest", |(_, tag)| tag)
}

fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

/// Digest of a blob, as manifests name it.
fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(content)))
}

/// Writes bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(content: &str) -> Image {
        Image {
            name: "docker.io/freshet/test:1".into(),
            entrypoint: vec!["/a".into()],
            user: NON_ROOT.into(),
            labels: Vec::new(),
            entries: vec![
                Entry::file("usr/bin/b", 0o755, content.as_bytes().to_vec()),
                Entry::file("a", 0o755, b"a".to_vec()),
            ],
        }
    }

    fn written(image: &Image, name: &str) -> (Archive, Vec<u8>) {
        let path = std::env::temp_dir().join(format!("freshet-oci-{}-{name}.tar", std::process::id()));
        let archive = image.write(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        (archive, bytes)
    }

    #[test]
    fn the_same_input_gives_the_same_bytes_and_another_gives_another_digest() {
        let (first, first_bytes) = written(&image("b"), "first");
        let (second, second_bytes) = written(&image("b"), "second");
        assert_eq!(first_bytes, second_bytes);
        assert_eq!(first.digest, second.digest);
        let (other, _) = written(&image("c"), "other");
        assert_ne!(other.digest, first.digest);
        assert_ne!(other.pinned_name(), first.pinned_name());
    }

    #[test]
    fn every_descriptor_of_the_archive_leads_to_a_blob_of_that_length_and_digest() {
        let (archive, bytes) = written(&image("b"), "walk");
        let mut blobs = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            blobs.insert(entry.path().unwrap().display().to_string(), content);
        }
        let follow = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            let blob = &blobs[&blob_path(digest)];
            assert_eq!(super::digest(blob), digest);
            assert_eq!(descriptor["size"], blob.len());
            blob.clone()
        };
        let index: Value = serde_json::from_slice(&blobs["index.json"]).unwrap();
        assert_eq!(
            index["manifests"][0]["annotations"]["io.containerd.image.name"],
            "docker.io/freshet/test:1"
        );
        assert_eq!(index["manifests"][0]["digest"], archive.digest.as_str());
        let manifest: Value = serde_json::from_slice(&follow(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(&follow(&manifest["config"])).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        assert_eq!(config["config"]["User"], NON_ROOT);
        follow(&manifest["layers"][0]);
    }

    #[test]
    fn a_pinned_name_is_a_valid_tag() {
        let name = pinned("docker.io/freshet/proxy:0.1.0", "sha256:0123456789abcdef");
        assert_eq!(name, "docker.io/freshet/proxy:0.1.0-0123456789ab");
    }
}
