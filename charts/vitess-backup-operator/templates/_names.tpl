{{/* The name of every object: the release's, made to say what it is, and short enough for a label. */}}
{{- define "vitess-backup-operator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains .Chart.Name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What selects the operator's pods; a Deployment cannot change it later. */}}
{{- define "vitess-backup-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The labels of every object. */}}
{{- define "vitess-backup-operator.labels" -}}
{{ include "vitess-backup-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "vitess-backup-operator.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "vitess-backup-operator.fullname" .) }}
{{- end }}

{{/* The image of the operator, which engine pods copy the engine from as well. */}}
{{- define "vitess-backup-operator.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where an alert's section of docs/runbook.md is; takes list of the values of prometheusRule and the alert's name. */}}
{{- define "vitess-backup-operator.runbook" -}}
{{- $values := index . 0 }}
{{- $alert := index . 1 }}
{{- if $values.runbookUrl -}}
runbook_url: {{ printf "%s#%s" $values.runbookUrl (lower $alert) | quote }}
{{- else -}}
runbook: {{ printf "docs/runbook.md, section %s" $alert | quote }}
{{- end }}
{{- end }}
