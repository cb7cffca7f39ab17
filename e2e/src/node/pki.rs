//! The certificates of an instance and the kubeconfigs that carry them.
//!
//! All keys stay below the instance's state, readable by root alone, and go with it. Files that exist are kept, so
//! that a second `up` and a node that joins later work with the same authority.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use super::addresses::Addresses;
use super::instance::{Instance, node_name, write_atomically};

/// A certificate's place in the cluster: who it is, and where it answers.
#[derive(Debug)]
struct Identity {
    /// Name of its files.
    file: String,
    /// The user that it is to the API server.
    user: String,
    /// The group that it is in.
    group: Option<&'static str>,
    /// Names and addresses under which it is reached; none for a client alone.
    names: Vec<String>,
}

impl Identity {
    fn new(file: &str, user: &str, group: Option<&'static str>, names: Vec<String>) -> Self {
        Self {
            file: file.to_owned(),
            user: user.to_owned(),
            group,
            names,
        }
    }
}

/// The folder of an instance's keys and certificates.
#[derive(Debug, Clone)]
pub struct Pki {
    folder: PathBuf,
    addresses: Addresses,
}

/// Files of one identity.
#[derive(Debug, Clone)]
pub struct Files {
    /// PEM of the certificate.
    pub certificate: PathBuf,
    /// PEM of its key.
    pub key: PathBuf,
}

impl Pki {
    /// Makes what is missing for a control plane and `nodes` nodes.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn ensure(instance: &Instance, addresses: Addresses, nodes: u8) -> anyhow::Result<Self> {
        let pki = Self {
            folder: instance.folder("pki")?,
            addresses,
        };
        let authority = pki.ensure_authority()?;
        if !pki.service_account_public_key().exists() {
            let key = KeyPair::generate()?;
            write_secret(&pki.service_account_key(), &key.serialize_pem())?;
            write_atomically(&pki.service_account_public_key(), key.public_key_pem().as_bytes())?;
        }
        for identity in pki.identities(nodes) {
            let file = identity.file.as_str();
            if !pki.files(file).certificate.exists() {
                pki.sign(&identity, &authority)
                    .with_context(|| format!("no certificate for {file}"))?;
            }
            if file != "apiserver" {
                pki.write_kubeconfig(file, &pki.kubeconfig(file))?;
            }
        }
        pki.write_kubeconfig("admin", &instance.kubeconfig())?;
        Ok(pki)
    }

    fn identities(&self, nodes: u8) -> Vec<Identity> {
        let addresses = self.addresses;
        let mut api_names: Vec<String> = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
            .into_iter()
            .chain(["kubernetes.default.svc.cluster.local", "localhost", "127.0.0.1"])
            .map(str::to_owned)
            .collect();
        api_names.extend([addresses.api_service().to_string(), addresses.node(1).to_string()]);
        let mut all = vec![
            Identity::new("apiserver", "kube-apiserver", None, api_names),
            Identity::new("admin", "kubernetes-admin", Some("system:masters"), Vec::new()),
            // What the API server is to kubelets and aggregated servers.
            Identity::new(
                "apiserver-client",
                "kube-apiserver-client",
                Some("system:masters"),
                Vec::new(),
            ),
            Identity::new("controller-manager", "system:kube-controller-manager", None, Vec::new()),
            Identity::new("scheduler", "system:kube-scheduler", None, Vec::new()),
            Identity::new("proxy", "system:kube-proxy", None, Vec::new()),
            Identity::new("dns", DNS_USER, None, Vec::new()),
            Identity::new("volumes", VOLUMES_USER, None, Vec::new()),
        ];
        for number in 1..=nodes {
            let node = node_name(number);
            let names = vec![node.clone(), addresses.node(number).to_string()];
            let user = format!("system:node:{node}");
            all.push(Identity::new(&kubelet_file(number), &user, Some("system:nodes"), names));
        }
        all
    }

    fn ensure_authority(&self) -> anyhow::Result<Issuer<'static, KeyPair>> {
        let files = self.files("ca");
        let mut params = CertificateParams::default();
        params.distinguished_name = subject("freshet-node-ca", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        if !files.certificate.exists() {
            let key = KeyPair::generate()?;
            write_secret(&files.key, &key.serialize_pem())?;
            write_atomically(&files.certificate, params.self_signed(&key)?.pem().as_bytes())?;
        }
        let key = KeyPair::from_pem(&read(&files.key)?)?;
        Ok(Issuer::new(params, key))
    }

    fn sign(&self, identity: &Identity, authority: &Issuer<'_, KeyPair>) -> anyhow::Result<()> {
        let mut params = CertificateParams::new(identity.names.clone())?;
        params.distinguished_name = subject(&identity.user, identity.group);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !identity.names.is_empty() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let files = self.files(&identity.file);
        // The key first: a certificate that is there says that its key is.
        write_secret(&files.key, &key.serialize_pem())?;
        write_atomically(&files.certificate, params.signed_by(&key, authority)?.pem().as_bytes())
    }

    fn write_kubeconfig(&self, file: &str, to: &Path) -> anyhow::Result<()> {
        let files = self.files(file);
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "freshet",
            "clusters": [{"name": "freshet", "cluster": {
                "server": self.addresses.api_server_url(),
                "certificate-authority-data": ByteString(read(&self.authority())?.into_bytes()),
            }}],
            "contexts": [{"name": "freshet", "context": {"cluster": "freshet", "user": file}}],
            "users": [{"name": file, "user": {
                "client-certificate-data": ByteString(read(&files.certificate)?.into_bytes()),
                "client-key-data": ByteString(read(&files.key)?.into_bytes()),
            }}],
        });
        write_secret(to, &serde_json::to_string_pretty(&config)?)
    }

    /// The certificate of the authority that everybody trusts.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.files("ca").certificate
    }

    /// The key that signs service accounts' tokens.
    #[must_use]
    pub fn service_account_key(&self) -> PathBuf {
        self.folder.join("service-accounts.key")
    }

    /// The key with which those tokens are checked.
    #[must_use]
    pub fn service_account_public_key(&self) -> PathBuf {
        self.folder.join("service-accounts.pub")
    }

    /// The certificate and key of an identity.
    #[must_use]
    pub fn files(&self, file: &str) -> Files {
        Files {
            certificate: self.folder.join(format!("{file}.crt")),
            key: self.folder.join(format!("{file}.key")),
        }
    }

    /// The kubeconfig of an identity.
    #[must_use]
    pub fn kubeconfig(&self, file: &str) -> PathBuf {
        self.folder.join(format!("{file}.kubeconfig"))
    }
}

/// The user that the cluster's DNS is; its rights are in [`super::dns`].
pub const DNS_USER: &str = "freshet:dns";
/// The user that the volume provisioner is; its rights are in [`super::storage_class`].
pub const VOLUMES_USER: &str = "freshet:volumes";

/// The name of a kubelet's files.
#[must_use]
pub fn kubelet_file(number: u8) -> String {
    format!("kubelet-{}", node_name(number))
}

fn subject(user: &str, group: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    name.push(DnType::CommonName, user);
    name
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file that only its owner reads, from its first byte on.
fn write_secret(path: &Path, content: &str) -> anyhow::Result<()> {
    let next = path.with_extension("next");
    let _ = std::fs::remove_file(&next);
    let context = || format!("cannot write {}", path.display());
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&next)
        .with_context(context)?;
    file.write_all(content.as_bytes()).with_context(context)?;
    std::fs::rename(&next, path).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_keeps_keys_and_a_node_that_joins_gets_its_own() {
        let root = std::env::temp_dir().join(format!("freshet-pki-{}", std::process::id()));
        let instance = Instance::below(&root, "pki".parse().unwrap());
        let first = Pki::ensure(&instance, Addresses::of_slot(0), 1).unwrap();
        let key = read(&first.files("admin").key).unwrap();
        let authority = read(&first.authority()).unwrap();
        assert!(!first.files(&kubelet_file(2)).key.exists());
        let second = Pki::ensure(&instance, Addresses::of_slot(0), 2).unwrap();
        assert_eq!(read(&second.files("admin").key).unwrap(), key);
        assert_eq!(read(&second.authority()).unwrap(), authority);
        assert!(second.files(&kubelet_file(2)).key.exists());
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn keys_and_kubeconfigs_are_for_root_alone() {
        use std::os::unix::fs::PermissionsExt;
        let root = std::env::temp_dir().join(format!("freshet-pki-mode-{}", std::process::id()));
        let instance = Instance::below(&root, "pki".parse().unwrap());
        let pki = Pki::ensure(&instance, Addresses::of_slot(0), 1).unwrap();
        for path in [
            pki.files("ca").key,
            pki.service_account_key(),
            pki.kubeconfig("scheduler"),
            instance.kubeconfig(),
        ] {
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600,
                "{}",
                path.display()
            );
        }
        std::fs::remove_dir_all(&root).unwrap();
    }
}
