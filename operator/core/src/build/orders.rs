//! How a proxy reads the order to give clients away: an annotation of its own pod, as a file.
//!
//! The kubelet projects a changed annotation at once; nobody but who may write pods can give the order.

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, DownwardAPIVolumeSource, ObjectFieldSelector, Volume, VolumeMount,
};

use crate::labels;

const VOLUME: &str = "orders";
const FOLDER: &str = "/etc/freshet-orders";
const FILE: &str = "moves.json";

/// The volume with the file; it is empty while there is no order.
pub(super) fn volume() -> Volume {
    Volume {
        name: VOLUME.to_owned(),
        downward_api: Some(DownwardAPIVolumeSource {
            items: Some(vec![DownwardAPIVolumeFile {
                path: FILE.to_owned(),
                field_ref: Some(ObjectFieldSelector {
                    api_version: Some("v1".to_owned()),
                    field_path: format!("metadata.annotations['{}']", labels::MOVES),
                }),
                ..DownwardAPIVolumeFile::default()
            }]),
            ..DownwardAPIVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// Where the proxy has it.
pub(super) fn mount() -> VolumeMount {
    VolumeMount {
        name: VOLUME.to_owned(),
        mount_path: FOLDER.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

/// What the proxy is told of it.
pub(super) fn args() -> [String; 2] {
    ["--moves".to_owned(), format!("{FOLDER}/{FILE}")]
}
