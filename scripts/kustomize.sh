#!/bin/bash
# kustomize.sh FILE: writes the objects of the kustomize base (config/) to FILE: what the chart renders by default, without
# the definitions, which are in config/crd, and without the labels that say that Helm installed it.
set -euo pipefail
cd "$(dirname "$0")/.."
helm=tests/e2e/ground/helm.sh
rendered=$("$helm" template vitess-backup-operator charts/vitess-backup-operator --namespace vitess-backup-operator \
  --set crds.enabled=false)
{
  printf '# Written by make kustomize from charts/vitess-backup-operator; change that instead.\n'
  sed -e '/^# Source:/d' -e '/^ *helm\.sh\/chart:/d' \
    -e 's/^\( *app\.kubernetes\.io\/managed-by:\) Helm$/\1 kustomize/' <<<"$rendered"
} >"$1"
