//! Names of everything that belongs to a cluster, in one place.

/// Port at which storage nodes serve proxies.
pub const STORAGE_PORT: u16 = 7883;

/// Key of the proxies' file in the ConfigMap.
pub const PROXY_FILE: &str = "proxy.json";

/// Key of the storage nodes' file in the ConfigMap.
pub const STORAGE_FILE: &str = "storage.json";

/// Folder in which the processes find their file.
pub const CONFIG_FOLDER: &str = "/etc/freshet";

/// Container of a proxy pod that runs the proxy.
pub const PROXY_CONTAINER: &str = "proxy";

/// Container of a storage pod that runs the storage node.
pub const STORAGE_CONTAINER: &str = "storage";

/// Name of the volume of a storage node, and the beginning of its claim's.
pub const DATA_VOLUME: &str = "data";

/// Where it is mounted. A file system may have a folder of its own at its root.
pub const DATA_MOUNT: &str = "/var/lib/freshet";

/// What the node may fill.
pub const DATA_FOLDER: &str = "/var/lib/freshet/data";

/// The ConfigMap with the files of proxies and storage.
pub fn config_map(cluster: &str) -> String {
    format!("{cluster}-config")
}

/// The ConfigMap with what the scaler remembers.
pub fn scaling_history(cluster: &str) -> String {
    format!("{cluster}-scaling")
}

/// The Service that clients use: it has the cluster's own name.
pub fn client_service(cluster: &str) -> String {
    cluster.to_owned()
}

/// The Service over all proxies, which keeps every backend known to dataplanes that cut the flows of removed ones.
pub fn all_proxies_service(cluster: &str) -> String {
    format!("{cluster}-proxy-all")
}

/// The headless Service that gives storage nodes their DNS names.
pub fn storage_service(cluster: &str) -> String {
    format!("{cluster}-storage")
}

/// The StatefulSet of the storage nodes.
pub fn storage_stateful_set(cluster: &str) -> String {
    format!("{cluster}-storage")
}

/// The claim of a storage node's volume, as the StatefulSet calls it.
pub fn storage_claim(cluster: &str, ordinal: u32) -> String {
    format!("{DATA_VOLUME}-{}-{ordinal}", storage_stateful_set(cluster))
}

/// The Deployment of one revision of the proxies.
pub fn proxy_deployment(cluster: &str, revision: &str) -> String {
    format!("{cluster}-proxy-{revision}")
}

/// The PodDisruptionBudget of the active proxies.
pub fn proxy_disruption_budget(cluster: &str) -> String {
    format!("{cluster}-proxy")
}

/// The ServiceAccount of the proxies, which has no rights.
pub fn proxy_service_account(cluster: &str) -> String {
    format!("{cluster}-proxy")
}

/// The ServiceAccount of the storage nodes, which has no rights.
pub fn storage_service_account(cluster: &str) -> String {
    format!("{cluster}-storage")
}

/// `host:port` of every storage node, in ordinal order.
pub fn storage_endpoints(cluster: &str, namespace: &str, replicas: u32) -> Vec<String> {
    let service = storage_service(cluster);
    let set = storage_stateful_set(cluster);
    (0..replicas)
        .map(|ordinal| format!("{set}-{ordinal}.{service}.{namespace}.svc:{STORAGE_PORT}"))
        .collect()
}
