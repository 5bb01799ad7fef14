#!/bin/bash
# shard-up.sh [NAMESPACE]: the shard maria/0 over MariaDB 10.11, beside commerce/0 (bring that up first: it has the etcd,
# the vtctld and the backup volume): a primary and a replica, two tables with about 10 MB in them, and steady writes. Run
# again, it repairs what is missing and is quick when nothing is.
set -euo pipefail
exec </dev/null
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../env.sh"
export VITESS_NAMESPACE=${1:-${VITESS_NAMESPACE:-vitess-demo}}
# shellcheck source-path=SCRIPTDIR
. "$GROUND/mariadb/lib.sh"

# A tablet's port for mysqld is in its record once mysqld runs.
registered() { [ "$(vtctldclient GetTablets --keyspace maria --shard 0 | grep -c 'zone1-000000020[01] .*:3306 ')" = 2 ]; }
mysqld_answers() { tablet_sql 200 'select 1' && tablet_sql 201 'select 1'; }
has_primary() { vtctldclient GetTablets --keyspace maria --shard 0 --tablet-type primary 2>/dev/null | grep -q zone1-0000000200; }

# Vitess 24 no longer knows MariaDB well enough to do this whole: SetReadWrite wants super_read_only, and SetReplicationSource
# ends with `invalid MySQL 5.6 SID ""`. So PlannedReparentShard makes 200 the primary and fails, and the rest is told in SQL.
first_primary() {
  await 180 "both tablets of maria/0 in the topology, with mysqld up" registered
  vtctldclient PlannedReparentShard --new-primary "$(tablet_alias 200)" maria/0 >/dev/null 2>&1 || await 30 "a primary of maria/0" has_primary
}

# What VTOrc would do, which is not here. A replica without a source is new and takes all that the primary wrote, or was
# restored and goes on from there.
repair() {
  tablet_sql 200 'set global read_only = off'
  maria_replicating 201 || if [ -n "$(tablet_sql 201 'show slave status')" ]; then
    say "tablet 201 was not replicating"
    tablet_sql 201 'start slave'
  else
    [ -n "$(tablet_sql 201 'select @@global.gtid_slave_pos')" ] || tablet_sql 201 'reset master'
    tablet_sql 201 "change master to master_host = '$(tablet_alias 200)', master_user = 'vt_repl', master_use_gtid = slave_pos; start slave"
  fi
}

both_ready() {
  local uid
  for uid in 200 201; do in_namespace rollout status "statefulset/$(tablet_alias "$uid")" --timeout=20s >/dev/null 2>&1 || return 1; done
}

data() {
  # The user of the writer comes last, and tells that all is there.
  [ "$(tablet_sql 200 "select exists(select 1 from mysql.user where user = 'writer')")" = 0 ] || return 0
  say "loading the tables of maria" "3 s, 10 MB"
  tablet_sql 200 "create database if not exists vt_maria character set utf8mb4;
    use vt_maria;
    create or replace table event (event_id bigint auto_increment primary key, detail varchar(100) not null);
    create or replace table document (document_id int primary key, content blob not null);
    insert into event (detail) select concat('event ', sha2(seq, 256)) from seq_1_to_20000;
    insert into document select seq, random_bytes(1000) from seq_1_to_8000;
    create user if not exists writer@'%';
    grant insert on vt_maria.* to writer@'%'"
}

in_namespace get statefulset/etcd deploy/vtctld >/dev/null || die "there is no commerce/0 in namespace $VITESS_NAMESPACE: run vitess/shard-up.sh"
"$MARIADB/image.sh"
if [ -n "$(in_namespace get "statefulset/$(tablet_alias 201)" --ignore-not-found)" ] && ! both_ready; then
  say "a tablet of maria/0 is not ready, and a vttablet of Vitess 24 cannot start again beside a MariaDB that has a source"
  "$MARIADB/shard-down.sh"
fi
say "bringing up maria/0 in namespace $VITESS_NAMESPACE" "45 s; 5 s when it is up"
ensure_keyspace maria
for uid in 200 201; do add_maria_tablet "$uid"; done
has_primary || first_primary
await 120 "mysqld of the tablets of maria/0" mysqld_answers
repair
# A replica is Ready once it replicates.
for uid in 200 201; do in_namespace rollout status "statefulset/$(tablet_alias "$uid")" --timeout=180s >/dev/null; done
data
with_our_image "$MARIADB_TABLET_IMAGE" < "$MARIADB/manifests/writer.yaml" | in_namespace apply -f - >/dev/null
maria_caught_up 201
say "maria/0 is up in namespace $VITESS_NAMESPACE: primary $(tablet_alias 200), the replica caught up"
