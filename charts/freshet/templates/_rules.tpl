{{- /*
What the operator does to clusters and their children, and no more. Secrets are not among it: image pull secrets are
named in pods and read by the kubelet.
*/ -}}
{{- define "freshet.clusterRules" -}}
- apiGroups: [freshet.dev]
  resources: [mqttclusters]
  verbs: [list, watch]
- apiGroups: [freshet.dev]
  resources: [mqttclusters/status]
  verbs: [patch]
# How many proxies serve, in clusters that say `scaling.mode: Scale`.
- apiGroups: [freshet.dev]
  resources: [mqttclusters/scale]
  verbs: [patch]
# Children block the deletion of their owner: some clusters ask for this before they let that be written.
- apiGroups: [freshet.dev]
  resources: [mqttclusters/finalizers]
  verbs: [update]
# Server-side apply is `patch`, and `create` where there is nothing yet; `get` shows whether a name is somebody else's
# before that. What is not deleted here goes with its owner.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [configmaps, serviceaccounts, services]
  verbs: [get, list, watch, create, patch]
# Deployments of earlier revisions are deleted.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# Roles of proxies are labels of pods; storage pods are replaced one at a time.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch, delete]
# Claims of storage nodes are made by their StatefulSet; they ask for more when `storage.volume.size` grows, and a new cluster
# goes on with those that one of the same name has left.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, patch]
# What an active proxy reserves is raised in place.
- apiGroups: [""]
  resources: [pods/resize]
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
