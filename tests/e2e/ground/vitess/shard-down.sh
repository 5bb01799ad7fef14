#!/bin/bash
# shard-down.sh [NAMESPACE]: removes what shard-up.sh made, with all its volumes, by removing the namespace (default
# vitess-demo). It refuses a namespace that shard-up.sh did not make.
set -euo pipefail
exec </dev/null
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../env.sh"
namespace=${1:-${VITESS_NAMESPACE:-vitess-demo}}
owner=$(kubectl get namespace "$namespace" --ignore-not-found -o 'jsonpath={.metadata.name}:{.metadata.labels.app\.kubernetes\.io/part-of}')
[ -n "$owner" ] || { say "there is no namespace $namespace"; exit 0; }
[ "${owner#*:}" = vitess-backup-operator-ground ] || die "namespace $namespace was not made by shard-up.sh"
say "removing namespace $namespace" "20 to 30 s"
# Tablets before etcd: a vttablet that cannot reach the topology waits out its grace period.
kubectl -n "$namespace" delete statefulset -l planetscale.com/component=vttablet --cascade=foreground --timeout=120s >/dev/null
kubectl delete namespace "$namespace" --timeout=180s >/dev/null
