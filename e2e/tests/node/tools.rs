//! An image with a few of this machine's programs, for pods that try something.

use std::path::Path;

use anyhow::Result;
use freshet_e2e::Cluster;
use freshet_e2e::node::packages::find_program;
use freshet_e2e::oci::{self, Content, Entry, Image};
use serde_json::{Value, json};

const NAME: &str = "localhost/freshet/test-tools:1";
const PROGRAMS: [&str; 5] = ["sh", "cat", "sleep", "socat", "getent"];

/// Builds the image, and loads it into every node.
pub(crate) async fn load(cluster: &Cluster) -> Result<String> {
    let mut entries: Vec<Entry> = Vec::new();
    for program in PROGRAMS {
        let path = format!("/bin/{program}");
        let files = oci::files_of_program(&find_program(program)?, &path).await?;
        // Programs share libraries.
        entries.extend(
            files
                .into_iter()
                .filter(|file| !entries.iter().any(|known| known.path == file.path))
                .collect::<Vec<_>>(),
        );
    }
    assert!(entries.iter().all(|entry| matches!(entry.content, Content::File(_))));
    let image = Image {
        name: NAME.to_owned(),
        entrypoint: vec!["/bin/sh".into()],
        user: oci::NON_ROOT.to_owned(),
        labels: Vec::new(),
        entries,
    };
    let folder = std::env::temp_dir().join(format!("freshet-tools-{}", std::process::id()));
    let archive = image.write(&folder.join("tools.tar"))?;
    cluster.load_image(&archive).await?;
    std::fs::remove_dir_all(Path::new(&folder))?;
    Ok(archive.pinned_name().to_owned())
}

/// A pod's spec under restricted pod security that runs a shell script.
pub(crate) fn pod_spec(image: &str, script: &str) -> Value {
    json!({
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "tools", "image": image, "command": ["/bin/sh", "-c", script],
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
        }],
    })
}

/// A pod of that spec.
pub(crate) fn pod(name: &str, namespace: &str, spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}
