{{/*
What the operator may do where it watches: one text for the ClusterRole and for the Roles. src/resources/rbac.rs says the
same, and a test compares the two. It reads no Secrets, executes nothing in pods, and changes no object but its own kinds,
the Jobs that it creates, and Leases.
*/}}
{{- define "vitess-backup-operator.rules" -}}
- apiGroups: [backup.vitess.io]
  resources: [vitessbackupstorages, vitessbackups, vitessrestores, vitesstopologybackups]
  verbs: [get, list, watch]
# Finalizers are metadata.
- apiGroups: [backup.vitess.io]
  resources: [vitessbackups, vitessrestores, vitesstopologybackups]
  verbs: [patch]
# What is found in storage has a record each.
- apiGroups: [backup.vitess.io]
  resources: [vitessbackups]
  verbs: [create, delete]
- apiGroups: [backup.vitess.io]
  resources: [vitessbackupstorages/status, vitessbackups/status, vitessrestores/status, vitesstopologybackups/status]
  verbs: [patch]
# Owner references that block deletion ask for this where OwnerReferencesPermissionEnforcement is on, as on OpenShift.
- apiGroups: [backup.vitess.io]
  resources: [vitessbackupstorages/finalizers, vitessbackups/finalizers, vitessrestores/finalizers, vitesstopologybackups/finalizers]
  verbs: [update]
# Engine pods are Jobs.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# Tablets are found by their pods; engine pods report through their log.
- apiGroups: [""]
  resources: [pods, persistentvolumeclaims]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
# Is the namespace going away?
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
# One run per tablet at a time.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, watch, create, update, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/*
Only where the webhook is switched on: each of the operator's pods adds the authority of its certificate to that one configuration.
The configuration belongs to no namespace, so this is a ClusterRole even where watchNamespaces is set.
*/}}
{{- define "vitess-backup-operator.webhookRules" -}}
- apiGroups: [admissionregistration.k8s.io]
  resources: [mutatingwebhookconfigurations]
  resourceNames: [{{ include "vitess-backup-operator.fullname" . }}]
  verbs: [get, patch]
{{- end }}

{{/* Roles and bindings to the operator's service account; takes dict root kind name namespace ("" for a ClusterRole) rules. */}}
{{- define "vitess-backup-operator.grant" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "vitess-backup-operator.labels" .root | nindent 4 }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}Binding
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "vitess-backup-operator.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "vitess-backup-operator.serviceAccountName" .root }}
    namespace: {{ .root.Release.Namespace }}
{{- end }}

{{/* Which of the operator's pods leads is decided by a Lease in their own namespace. */}}
{{- define "vitess-backup-operator.leaderElectionRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, create, update]
{{- end }}
