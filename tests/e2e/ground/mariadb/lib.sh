# shellcheck shell=bash
# Functions for the shard maria/0 of the test ground: two tablets of MariaDB 10.11, 200 (the primary, always) and 201.
# They share the namespace, etcd, vtctld and backup volume of commerce/0. Source after env.sh. What vitess/lib.sh has of a
# tablet by its uid (tablet_sql, remove_tablet …) works for these too.

# shellcheck source-path=SCRIPTDIR
. "$GROUND/vitess/lib.sh"
# shellcheck source-path=SCRIPTDIR
. "$GROUND/mariadb/shared.sh"
# What vttablet needs for taking and restoring backups by xtrabackup itself.
XTRABACKUP_FLAGS=(--backup-engine-implementation=xtrabackup --xtrabackup-user=xtrabackup --xtrabackup-stream-mode=xbstream
  --xtrabackup-root-path=/opt/xtrabackup/bin)

# maria_tablet_manifest UID [VTTABLET-FLAG...]: as tablet_manifest of vitess/lib.sh, in keyspace maria over MariaDB.
maria_tablet_manifest() {
  local mysql mariadb
  mysql=$(image_ref "$TABLET_IMAGE") && mariadb=$(image_ref "$MARIADB_TABLET_IMAGE") || return 1
  tablet_manifest "$@" "${XTRABACKUP_FLAGS[@]}" | sed -e "s|image: $mysql|image: $mariadb|" \
    -e 's|keyspace: commerce|keyspace: maria|; s|--init-keyspace=commerce|--init-keyspace=maria|' \
    -e 's|^\( *\)- --wait-time=45s|&\n\1- --init-db-sql-file=/vt/config/init_db.sql|'
}

add_maria_tablet() { maria_tablet_manifest "$@" | in_namespace apply -f - >/dev/null; }

# maria_replicating UID: both replication threads run, and it is connected.
maria_replicating() {
  [ "$(tablet_sql "$1" "select variable_value from information_schema.global_status where variable_name = 'slave_running'" 2>/dev/null)" = ON ]
}

# maria_caught_up UID [SECONDS]: waits until UID has everything that the primary has now, and is replicating.
maria_caught_up() {
  local uid=$1 seconds=${2:-120} deadline position
  deadline=$((SECONDS + seconds))
  position=$(tablet_sql 200 'select @@global.gtid_binlog_pos') || return 1
  until [ "$(tablet_sql "$uid" "select master_gtid_wait('$position', 5)" 2>/dev/null)" = 0 ] && maria_replicating "$uid"; do
    [ $SECONDS -lt $deadline ] || { say "tablet $uid has not caught up after $seconds s"; return 1; }
    sleep 1
  done
}

# maria_checksums UID: the checksum of each table; only comparable while nothing is written.
maria_checksums() {
  local sums
  sums=$(tablet_sql "$1" 'checksum table vt_maria.event, vt_maria.document') || return 1
  printf '%s\n' "$sums"
  [[ $sums != *NULL* ]] || { say "tablet $1 has a table that cannot be read"; return 1; }
}

# Steady writes (manifests/writer.yaml).
pause_maria_writer() {
  in_namespace scale deploy/maria-writer --replicas=0 >/dev/null &&
    in_namespace wait pod -l app.kubernetes.io/name=maria-writer --for=delete --timeout=60s >/dev/null
}
resume_maria_writer() { in_namespace scale deploy/maria-writer --replicas=1 >/dev/null; }
