#!/bin/bash
# shard-down.sh [NAMESPACE]: removes what mariadb/shard-up.sh made, with its volumes; commerce/0 stays, and the backups.
set -euo pipefail
exec </dev/null
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../env.sh"
export VITESS_NAMESPACE=${1:-${VITESS_NAMESPACE:-vitess-demo}}
# shellcheck source-path=SCRIPTDIR
. "$GROUND/mariadb/lib.sh"
[ -n "$(kubectl get namespace "$VITESS_NAMESPACE" --ignore-not-found)" ] || { say "there is no namespace $VITESS_NAMESPACE"; exit 0; }
say "removing maria/0 from namespace $VITESS_NAMESPACE" "10 s"
in_namespace delete --ignore-not-found deploy/maria-writer >/dev/null
for uid in 200 201 202; do maria_tablet_manifest "$uid"; done | in_namespace delete --ignore-not-found -f - >/dev/null
for uid in 200 201 202; do
  in_namespace wait pod "$(tablet_pod "$uid")" --for=delete --timeout=120s >/dev/null
  in_namespace delete pvc --ignore-not-found "$(tablet_claim "$uid")" >/dev/null
done
! vtctldclient GetKeyspace maria >/dev/null 2>&1 || vtctldclient DeleteKeyspace --force --recursive maria >/dev/null
