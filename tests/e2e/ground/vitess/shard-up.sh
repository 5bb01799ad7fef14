#!/bin/bash
# shard-up.sh [NAMESPACE]: a real Vitess shard, commerce/0, in the cluster: etcd, vtctld, one primary and two replicas, a
# few tables with about 40 MB in them, and steady writes. Run again, it repairs what is missing and is quick when nothing
# is. The namespace (default vitess-demo) is under the `restricted` Pod Security level.
set -euo pipefail
exec </dev/null
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../env.sh"
VITESS_NAMESPACE=${1:-${VITESS_NAMESPACE:-vitess-demo}}
# shellcheck source-path=SCRIPTDIR
. "$GROUND/vitess/lib.sh"

# apply NAME...: manifests/NAME.yaml
apply() {
  local name
  for name; do echo ---; cat "$VITESS/manifests/$name.yaml"; done | with_our_image "$TABLET_IMAGE" | in_namespace apply -f - >/dev/null
}

namespace() {
  kubectl apply -f - >/dev/null <<END
apiVersion: v1
kind: Namespace
metadata:
  name: $VITESS_NAMESPACE
  labels:
    app.kubernetes.io/part-of: vitess-backup-operator-ground
    pod-security.kubernetes.io/enforce: restricted
END
}

topology() {
  in_namespace rollout status statefulset/etcd --timeout=120s >/dev/null
  in_namespace rollout status deploy/vtctld --timeout=120s >/dev/null
  await 60 "vtctld to answer" vtctldclient GetCellInfoNames
  vtctldclient GetCellInfo zone1 >/dev/null 2>&1 || vtctldclient AddCellInfo --root /vitess/zone1 --server-address etcd:2379 zone1 >/dev/null
  ensure_keyspace commerce
}

registered() { [ "$(vtctldclient GetTablets --keyspace commerce --shard 0 | grep -vc ':0 ')" -ge ${#TABLET_UIDS[@]} ]; }

first_primary() {
  await 180 "all tablets in the topology, with mysqld up" registered
  await 60 "PlannedReparentShard" vtctldclient PlannedReparentShard --new-primary "$(tablet_alias 100)" commerce/0
}

tablets_ready() {
  local uid
  for uid in "${TABLET_UIDS[@]}"; do
    in_namespace rollout status "statefulset/$(tablet_alias "$uid")" --timeout=180s >/dev/null
  done
}

# What VTOrc would do, which is not here: after a restart of its mysqld a primary is read-only, and a replica is stopped.
repair() {
  local uid
  if [ "$(tablet_sql "$primary" 'select @@global.read_only')" = 1 ]; then
    say "tablet $primary, the primary, was read-only"
    vtctldclient SetWritable "$(tablet_alias "$primary")" true >/dev/null
  fi
  for uid in "${TABLET_UIDS[@]}"; do
    if [ "$uid" != "$primary" ] && ! replicating "$uid"; then
      say "tablet $uid was not replicating"
      start_replication "$uid"
    fi
  done
}

# fill TABLE ROWS COLUMNS SELECT: one INSERT, so that the table is either full or empty; the same rows every time. SELECT
# reads n = 1..ROWS from seq.
fill() {
  [ "$(tablet_sql "$primary" "select exists(select 1 from vt_commerce.$1)")" = 0 ] || return 0
  tablet_sql "$primary" "set session cte_max_recursion_depth = 100000, block_encryption_mode = 'aes-256-cbc';
    use vt_commerce;
    insert into $1 ($3) with recursive seq (n) as (select 1 union all select n + 1 from seq where n < $2) select $4 from seq"
}

data() {
  # The user of the writer comes last, and tells that all is there.
  [ "$(tablet_sql "$primary" "select exists(select 1 from mysql.user where user = 'writer')")" = 0 ] || return 0
  say "loading the tables" "10 s, 50 MB"
  if [ "$(tablet_sql "$primary" "select count(*) from information_schema.tables where table_schema = 'vt_commerce' and table_name = 'event'")" = 0 ]; then
    vtctldclient ApplySchema --sql "$(cat "$VITESS/schema.sql")" commerce >/dev/null
  fi
  fill product 500 'sku, description, price' "concat('SKU-', n), concat('product ', left(sha2(n, 256), 32)), 100 + n * 7"
  fill customer 40000 'customer_id, email, name, notes, created' "n, concat(left(sha2(n, 256), 32), '@example.com'), concat('Customer ', n),
    repeat(concat('note ', n % 97, ' '), 20), '2026-01-01' + interval n second"
  fill corder 40000 'order_id, customer_id, sku, quantity, price, placed' "n, 1 + n * 7919 % 40000, concat('SKU-', 1 + n % 500),
    1 + n % 9, 100 + n % 9000, '2026-02-01' + interval n second"
  fill event 30000 'event_id, kind, happened, detail' "n, elt(1 + n % 3, 'login', 'order', 'refund'),
    '2025-06-01' + interval n * 20 minute, concat('detail ', left(sha2(n, 256), 40))"
  # AES output of zeros: the same every time, and does not compress.
  fill attachment 1500 'attachment_id, content' "n, aes_encrypt(repeat(char(0), 8000 + n), sha2(n, 512), unhex(left(sha2(n, 256), 32)))"
  tablet_sql "$primary" "create user if not exists writer@'%'; grant select, insert, update on vt_commerce.* to writer@'%'"
}

"$VITESS/image.sh"
say "bringing up commerce/0 in namespace $VITESS_NAMESPACE" "45 to 90 s; 5 s when it is up"
namespace
apply backups etcd vtctld
for uid in "${TABLET_UIDS[@]}"; do tablet_manifest "$uid"; done | in_namespace apply -f - >/dev/null
primary=$(primary_uid 2>/dev/null) || {
  topology
  first_primary
  primary=$(primary_uid)
}
tablets_ready
repair
data
apply writer
for uid in "${TABLET_UIDS[@]}"; do
  [ "$uid" = "$primary" ] || wait_caught_up "$uid"
done
say "commerce/0 is up in namespace $VITESS_NAMESPACE: primary $(tablet_alias "$primary"), all replicas caught up"
