//! ServiceAccounts of proxies and storage. Neither has rights nor a token: the processes never talk to the API server.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::metadata;
use crate::labels;
use crate::names;
use crate::validate::ValidatedCluster;

pub(super) fn proxy(cluster: &ValidatedCluster) -> ServiceAccount {
    account(cluster, names::proxy_service_account(&cluster.name), labels::PROXY)
}

pub(super) fn storage(cluster: &ValidatedCluster) -> ServiceAccount {
    account(cluster, names::storage_service_account(&cluster.name), labels::STORAGE)
}

fn account(cluster: &ValidatedCluster, name: String, component: &str) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(cluster, name, labels::of_component(&cluster.name, component)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
