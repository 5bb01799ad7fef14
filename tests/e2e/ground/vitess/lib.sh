# shellcheck shell=bash
# shellcheck disable=SC2034  # what is set here is read by the scripts that source this file
# Functions for talking to the shard commerce/0 of the test ground. Source after env.sh. The namespace is
# VITESS_NAMESPACE, default vitess-demo. A tablet is named by its uid: 100, 101, 102. Each function fails when what it
# asks fails; nothing here waits without a limit.

# shellcheck source-path=SCRIPTDIR
. "$GROUND/vitess/shared.sh"
VITESS_NAMESPACE=${VITESS_NAMESPACE:-vitess-demo}
TABLET_UIDS=(100 101 102)

in_namespace() { kubectl -n "$VITESS_NAMESPACE" "$@"; }

# tablet_alias UID: zone1-0000000100, which is also the name of its Service and StatefulSet; its pod has -0 at the end.
tablet_alias() { printf 'zone1-%010d\n' "$1"; }
tablet_pod() { printf 'zone1-%010d-0\n' "$1"; }
tablet_claim() { printf 'vtdataroot-zone1-%010d-0\n' "$1"; }    # PersistentVolumeClaim of its tablet directory
tablet_dir() { printf '/vt/vtdataroot/vt_%010d\n' "$1"; }       # in its containers

# vtctldclient ARG...: runs in the vtctld pod, for at most VTCTLDCLIENT_SECONDS (300).
vtctldclient() {
  in_namespace exec deploy/vtctld -- timeout "${VTCTLDCLIENT_SECONDS:-300}" vtctldclient --server localhost:15999 "$@"
}

# tablet_sql UID SQL: rows tab-separated, no header, as vt_dba over the tablet's own socket.
tablet_sql() {
  in_namespace exec "$(tablet_pod "$1")" -c mysqld -- \
    mysql --no-defaults --connect-timeout=5 -u vt_dba -S "$(tablet_dir "$1")/mysql.sock" -NBe "$2"
}

# tablet_checksums UID: "vt_commerce.<table><tab><CHECKSUM TABLE>", one line a table, by name. Only comparable between
# tablets while nothing is written: pause_writer and wait_caught_up first.
tablet_checksums() {
  local tables sums
  tables=$(tablet_sql "$1" "set session group_concat_max_len = 65536;
    select group_concat(concat('vt_commerce.\`', table_name, '\`') order by table_name) from information_schema.tables
    where table_schema = 'vt_commerce' and table_type = 'BASE TABLE'") || return 1
  [ "$tables" != NULL ] || { say "tablet $1 has no tables in vt_commerce"; return 1; }
  sums=$(tablet_sql "$1" "checksum table $tables") || return 1
  printf '%s\n' "$sums"
  [[ $sums != *NULL* ]] || { say "tablet $1 has a table that cannot be read"; return 1; }
}

# same_rows UID UID...: every table has the same checksum on all of them, each replica being caught up; says which differ.
# Stops the writer meanwhile.
same_rows() {
  local writers status=0
  writers=$(in_namespace get deploy/writer --ignore-not-found -o 'jsonpath={.spec.replicas}') || return 1
  [ "${writers:-0}" = 0 ] || pause_writer || return 1
  compare_rows "$@" || status=1
  [ "${writers:-0}" = 0 ] || resume_writer || return 1
  return $status
}

compare_rows() {
  local uid primary rows expected=''
  primary=$(primary_uid) || return 1
  for uid; do
    [ "$uid" = "$primary" ] || wait_caught_up "$uid" || return 1
    rows=$(tablet_checksums "$uid") || return 1
    expected=${expected:-$rows}
    diff <(printf '%s\n' "$expected") <(printf '%s\n' "$rows") >&2 || { say "tablets $1 and $uid differ"; return 1; }
  done
  say "the same rows on tablets $*: $(wc -l <<< "$expected") tables"
}

# primary_uid: uid of the tablet that the topology calls primary.
primary_uid() {
  local alias
  alias=$(vtctldclient GetTablets --keyspace commerce --shard 0 --tablet-type primary) || return 1
  alias=${alias%% *}
  [ -n "$alias" ] || { say "commerce/0 has no primary"; return 1; }
  printf '%d\n' "$((10#${alias#zone1-}))"
}

# wait_caught_up UID [SECONDS]: until UID has everything that the primary has now, and is replicating.
wait_caught_up() {
  local uid=$1 seconds=${2:-120} deadline position primary
  deadline=$((SECONDS + seconds))
  primary=$(primary_uid) || return 1
  position=$(tablet_sql "$primary" "select replace(@@global.gtid_executed, '\n', '')") || return 1
  until [ "$(tablet_sql "$uid" "select wait_for_executed_gtid_set('$position', 5)" 2>/dev/null)" = 0 ] && replicating "$uid"; do
    [ $SECONDS -lt $deadline ] || { say "tablet $uid has not caught up after $seconds s"; return 1; }
    sleep 1
  done
}

# replicating UID: both replication threads run.
replicating() {
  [ "$(tablet_sql "$1" "select group_concat(service_state) from (select service_state from performance_schema.replication_connection_status
    union all select service_state from performance_schema.replication_applier_status) as threads" 2>/dev/null)" = ON,ON ]
}

# start_replication UID: from today's primary, whatever was configured. ReparentTablet alone names the source, but leaves
# replication stopped when it was stopped.
start_replication() {
  vtctldclient ReparentTablet "$(tablet_alias "$1")" >/dev/null && vtctldclient StartReplication "$(tablet_alias "$1")"
}

# Steady writes (manifests/writer.yaml). Where the API server was away, the controllers and the kubelet may each look half a minute
# later.
pause_writer() {
  in_namespace scale deploy/writer --replicas=0 >/dev/null &&
    in_namespace wait pod -l app.kubernetes.io/name=writer --for=delete --timeout=180s >/dev/null
}
resume_writer() { in_namespace scale deploy/writer --replicas=1 >/dev/null; }

# with_our_image NAME:TAG: YAML on stdin, with that image named as this cluster's pods must name it.
with_our_image() {
  local image=$1 ref
  ref=$(image_ref "$image") || return 1
  sed "s|image: localhost/$image|image: $ref|"
}

# ensure_keyspace NAME: durability none, so that the primary never waits for a replica and a test may stop any of them. A vttablet
# that starts makes its keyspace too, with the same.
ensure_keyspace() {
  vtctldclient GetKeyspace "$1" >/dev/null 2>&1 || vtctldclient CreateKeyspace --durability-policy=none "$1" >/dev/null 2>&1 ||
    vtctldclient GetKeyspace "$1" >/dev/null
}

# tablet_manifest UID [VTTABLET-FLAG...]: the YAML of that tablet, for `in_namespace apply -f -`.
tablet_manifest() {
  local uid=$1 flags='' flag
  shift
  echo ---
  for flag; do flags+="        - '${flag//\'/\'\'}'\n"; done
  sed -e "s/0000000100/$(printf %010d "$uid")/g; s/tablet-uid: \"100\"/tablet-uid: \"$uid\"/g; s/tablet-uid=100/tablet-uid=$uid/" \
    -e "s|^        # further vttablet flags\$|$flags|" "$VITESS/manifests/tablet.yaml" | sed '/^$/d' | with_our_image "$TABLET_IMAGE"
}

# remove_tablet UID: the pod, its volume and its record in the topology. Nobody needs its data any more, so that there is no
# clean shutdown, in which a replica's mysqld may wait a minute for its source.
remove_tablet() {
  in_namespace delete --ignore-not-found --cascade=orphan "statefulset/$(tablet_alias "$1")" >/dev/null &&
    in_namespace delete --ignore-not-found --grace-period=1 "pod/$(tablet_pod "$1")" >/dev/null &&
    tablet_manifest "$1" | in_namespace delete --ignore-not-found -f - >/dev/null &&
    in_namespace delete pvc --ignore-not-found "$(tablet_claim "$1")" >/dev/null &&
    { ! vtctldclient GetTablet "$(tablet_alias "$1")" >/dev/null 2>&1 || vtctldclient DeleteTablets "$(tablet_alias "$1")"; }
}
