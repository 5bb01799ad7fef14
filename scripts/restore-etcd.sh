#!/bin/bash
# restore-etcd.sh [--bump-revision N] SNAPSHOT DATA_DIR [ETCDUTL_FLAG...]: makes the data directory of one etcd member from a
# snapshot that `vitess-backup topology restore --output-dir` wrote. DATA_DIR must not exist. Needs etcdutl in PATH, of etcd's
# own version or a newer one.
#
# --bump-revision N adds N to the snapshot's revision and marks all older ones as compacted: clients that watch, or hold a
# revision that the snapshot never had, are told so and look anew, instead of taking the past for the future. Vitess's vtgate and
# vttablet watch; take a number larger than the writes since the snapshot (1000000000 is what etcd's own page suggests).
#
# Each member of a cluster gets a directory of its own, all from the same snapshot:
#   restore-etcd.sh snapshot.db /var/lib/etcd --name etcd-0 --initial-cluster etcd-0=http://etcd-0:2380,etcd-1=… \
#     --initial-cluster-token restored-1 --initial-advertise-peer-urls http://etcd-0:2380
set -euo pipefail

bump=()
if [ "${1:-}" = --bump-revision ]; then
  bump=(--bump-revision "${2:?a number}" --mark-compacted)
  shift 2
fi
snapshot=${1:?usage: restore-etcd.sh [--bump-revision N] SNAPSHOT DATA_DIR [ETCDUTL_FLAG...]} directory=${2:?a data directory}
shift 2
if [ -e "$directory" ]; then
  printf '%s exists: etcdutl restores into a directory that does not; move it away first\n' "$directory" >&2
  exit 1
fi
command -v etcdutl >/dev/null || { printf 'etcdutl is not in PATH\n' >&2; exit 1; }
etcdutl snapshot status "$snapshot" -w table >&2
etcdutl snapshot restore "$snapshot" --data-dir "$directory" ${bump[@]+"${bump[@]}"} "$@"
