#!/bin/bash
# demo.sh: the main job, from nothing: backs a Vitess tablet up, destroys a replica's data, restores it, and compares
# every row with the primary's. Everything in it is real; what it types is shown, and can be typed by hand.
set -euo pipefail
exec </dev/null
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/ground/env.sh"
# shellcheck source-path=SCRIPTDIR
. "$GROUND/scenario.sh"

NAMESPACE=$VITESS_NAMESPACE
BACKUPS=vitessbackups.backup.vitess.io
RESTORES=vitessrestores.backup.vitess.io
cd "$GROUND/../../.."
began=$SECONDS

title() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
typed() { printf '$ %s\n' "$*"; "$@"; }
k() { kubectl -n "$NAMESPACE" "$@"; }

# watch_until KIND NAME: shows the object's changes as they come, until it is finished; fails when it failed.
watch_until() {
  local kind=$1 name=$2 phase watcher
  printf '$ kubectl -n %s get %s -w\n' "$NAMESPACE" "$kind"
  kubectl -n "$NAMESPACE" get "$kind" "$name" -w &
  watcher=$!
  while :; do
    phase=$(k get "$kind" "$name" -o 'jsonpath={.status.phase}')
    case $phase in Succeeded | Failed | Cancelled) break ;; esac
    sleep 0.5
  done
  sleep 1
  kill "$watcher" 2>/dev/null
  wait "$watcher" 2>/dev/null || true
  [ "$phase" = Succeeded ] || { k describe "$kind" "$name"; die "$kind/$name ended in $phase"; }
}

"$(dirname "$0")/up.sh"

title "A Vitess shard: one primary, two replicas, and somebody writing to it"
typed kubectl -n "$NAMESPACE" get pods -L planetscale.com/tablet-uid
vtctldclient GetTablets

title "Where backups live, and one backup of the replica zone1-0000000101"
k delete "$BACKUPS" commerce-tablet --ignore-not-found >/dev/null
k delete "$RESTORES" commerce-latest --ignore-not-found >/dev/null
typed kubectl -n "$NAMESPACE" apply -f "examples/storage-file.yaml"
typed kubectl -n "$NAMESPACE" apply -f "examples/backup-tablet.yaml"
watch_until "$BACKUPS" commerce-tablet
typed kubectl -n "$NAMESPACE" get "$BACKUPS" -o wide
k get "$BACKUPS" commerce-tablet -o jsonpath='{.status.manifest}' | jq .

title "The accident: every file of zone1-0000000102 is gone"
destroy_data 102
vtctldclient GetTablets

title "The restore"
typed kubectl -n "$NAMESPACE" apply -f "examples/restore-latest.yaml"
watch_until "$RESTORES" commerce-latest
typed kubectl -n "$NAMESPACE" get "$RESTORES"

title "The tablet serves, its replication has caught up, and its rows are the primary's"
wait_serving 102
vtctldclient GetTablets
pause_writer
wait_caught_up 102
diff <(tablet_checksums 100) <(tablet_checksums 102) || { resume_writer; die "the replica's rows differ from the primary's"; }
tablet_checksums 102
resume_writer
printf '\nEvery table of zone1-0000000102 has the primary'"'"'s checksum. The demo took %d s.\n' $((SECONDS - began))

cat <<END

What to try next, with
  . tests/e2e/ground/env.sh
  kubectl -n $NAMESPACE describe $BACKUPS commerce-tablet
  kubectl -n $NAMESPACE explain vitessbackup.spec --api-version=backup.vitess.io/v1alpha1
  kubectl -n $NAMESPACE apply -f examples/restore-wait.yaml     # waits until a backup appears
  make test                                                    # proves all of it
  make cluster-down                                            # leaves nothing behind
END
