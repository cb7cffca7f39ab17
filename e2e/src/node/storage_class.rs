//! The default StorageClass `standard`: folders of the node that the scheduler chose, made and deleted by the
//! provisioner in `e2e/node/volumes`.

use serde_json::{Value, json};

use super::binaries::{Binaries, Program};
use super::control_plane::flag;
use super::dns::role_binding;
use super::instance::Instance;
use super::pki::{Pki, VOLUMES_USER};
use super::process::Server;

const STORAGE_CLASS: &str = "standard";
const PROVISIONER: &str = "freshet.dev/node-folder";

/// Returns the provisioner; one serves all nodes, whose folders all lie on this machine.
#[must_use]
pub fn server(instance: &Instance, binaries: &Binaries, pki: &Pki) -> Server {
    Server {
        name: Program::VolumeProvisioner.name().to_owned(),
        program: binaries.path(Program::VolumeProvisioner),
        arguments: vec![
            flag("kubeconfig", pki.kubeconfig("volumes").display()),
            flag("provisioner", PROVISIONER),
            flag("storage-class", STORAGE_CLASS),
            flag("folders", instance.state().display()),
        ],
        config_files: Vec::new(),
        network_namespace: instance.node_namespace(1),
        mount_namespace: None,
    }
}

/// What the API server must know of it.
#[must_use]
pub fn manifests() -> Vec<Value> {
    vec![
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {
                "name": STORAGE_CLASS,
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": PROVISIONER,
            "volumeBindingMode": "WaitForFirstConsumer",
            "reclaimPolicy": "Delete",
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": VOLUMES_USER},
            "rules": [
                {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["list", "watch"]},
                {
                    "apiGroups": [""], "resources": ["persistentvolumes"],
                    "verbs": ["list", "watch", "create", "delete"],
                },
            ],
        }),
        role_binding(VOLUMES_USER),
    ]
}
