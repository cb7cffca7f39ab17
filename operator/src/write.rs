//! The only way to write to the API server in a reconcile: each write passes its fault point on both sides, and is counted.

use std::fmt::Debug;
use std::future::Future;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::fault::{Fault, FaultPoint, Side, pass};
use crate::metrics::Metrics;

/// A write that was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The object has changed since it was read, or is another one by now: read again.
    #[error("{0}: the object has changed since it was read")]
    Stale(FaultPoint),
    /// There is no such object any more.
    #[error("{0}: the object is gone")]
    Gone(FaultPoint),
    /// The API server will not have it: the same again would be refused again.
    #[error("{point}: {message}")]
    Refused {
        /// The write.
        point: FaultPoint,
        /// What the API server says.
        message: String,
    },
    /// The API server could not be asked, or could not answer: try again later.
    #[error("{point}: {source}")]
    Failed {
        /// The write.
        point: FaultPoint,
        /// Why.
        source: Box<kube::Error>,
    },
}

/// Writes with fault points and metrics.
#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    metrics: Metrics,
    fault: Option<Fault>,
}

impl Writer {
    /// A writer that aborts at `fault`, if there is one.
    pub(crate) fn new(client: Client, metrics: Metrics, fault: Option<Fault>) -> Self {
        Self { client, metrics, fault }
    }

    /// The client that reads.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn write<T>(
        &self,
        point: FaultPoint,
        write: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, WriteError> {
        pass(self.fault, point, Side::Before);
        let answer = write.await.map_err(|error| sort(point, error));
        let result = match &answer {
            Ok(_) => "ok",
            Err(WriteError::Stale(_)) => "stale",
            Err(WriteError::Gone(_)) => "gone",
            Err(WriteError::Refused { .. }) => "refused",
            Err(WriteError::Failed { .. }) => "failed",
        };
        self.metrics.wrote(point.name(), result);
        pass(self.fault, point, Side::After);
        answer
    }

    /// Applies a whole object by server-side apply, and takes fields from other managers.
    pub(crate) async fn apply<K>(
        &self,
        point: FaultPoint,
        namespace: &str,
        name: &str,
        object: &K,
    ) -> Result<K, WriteError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Serialize + Debug,
    {
        let params = PatchParams::apply(freshet_operator_core::labels::MANAGER).force();
        let patch = Patch::Apply(object);
        self.write(point, self.api::<K>(namespace).patch(name, &params, &patch))
            .await
    }

    /// Merges into an object that is still at the resource version that `patch` carries.
    pub(crate) async fn merge<K>(
        &self,
        point: FaultPoint,
        namespace: &str,
        name: &str,
        manager: &str,
        patch: &Value,
    ) -> Result<K, WriteError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let params = PatchParams {
            field_manager: Some(manager.to_owned()),
            ..PatchParams::default()
        };
        self.write(
            point,
            self.api::<K>(namespace).patch(name, &params, &Patch::Merge(patch)),
        )
        .await
    }

    /// Writes `replicas` through the scale subresource, as `kubectl scale` and autoscalers do. Returns the version of the
    /// object that this made.
    pub(crate) async fn scale<K>(
        &self,
        point: FaultPoint,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<Option<u64>, WriteError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let params = PatchParams {
            field_manager: Some(freshet_operator_core::labels::SCALING_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let (api, patch) = (self.api::<K>(namespace), Patch::Merge(patch));
        let scale = self.write(point, api.patch_scale(name, &params, &patch)).await?;
        Ok(scale.metadata.resource_version.and_then(|version| version.parse().ok()))
    }

    /// Changes the resources of a running pod by a strategic merge.
    pub(crate) async fn resize(
        &self,
        point: FaultPoint,
        namespace: &str,
        pod: &str,
        patch: &Value,
    ) -> Result<Pod, WriteError> {
        let params = PatchParams {
            field_manager: Some(freshet_operator_core::labels::ROLES_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Strategic(patch);
        let api = self.api::<Pod>(namespace);
        self.write(point, api.patch_subresource("resize", pod, &params, &patch))
            .await
    }

    /// Applies a status.
    pub(crate) async fn apply_status<K>(
        &self,
        point: FaultPoint,
        namespace: &str,
        name: &str,
        status: &Value,
    ) -> Result<K, WriteError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let params = PatchParams::apply(freshet_operator_core::labels::MANAGER).force();
        self.write(
            point,
            self.api::<K>(namespace)
                .patch_status(name, &params, &Patch::Apply(status)),
        )
        .await
    }

    /// Deletes an object, if it still is the one with this UID.
    pub(crate) async fn delete<K>(
        &self,
        point: FaultPoint,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<(), WriteError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let preconditions = Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        };
        let params = DeleteParams::background().preconditions(preconditions);
        let api = self.api::<K>(namespace);
        self.write(point, async move { api.delete(name, &params).await.map(|_| ()) })
            .await
    }

    /// Creates an object.
    pub(crate) async fn create<K>(&self, point: FaultPoint, namespace: &str, object: &K) -> Result<K, WriteError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Serialize + Debug,
    {
        self.write(point, self.api::<K>(namespace).create(&PostParams::default(), object))
            .await
    }
}

/// Sorts errors by what the caller does next.
fn sort(point: FaultPoint, error: kube::Error) -> WriteError {
    match error {
        kube::Error::Api(status) => match status.code {
            404 => WriteError::Gone(point),
            409 => WriteError::Stale(point),
            400 | 403 | 405 | 413 | 415 | 422 => WriteError::Refused {
                point,
                message: status.message,
            },
            _ => WriteError::Failed {
                point,
                source: Box::new(kube::Error::Api(status)),
            },
        },
        error => WriteError::Failed {
            point,
            source: Box::new(error),
        },
    }
}
