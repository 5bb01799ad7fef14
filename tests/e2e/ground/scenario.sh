# shellcheck shell=bash
# What scenarios and the demo do to the shards besides talking to it. Source after env.sh.

# shellcheck source-path=SCRIPTDIR
. "$GROUND/vitess/lib.sh"
# shellcheck source-path=SCRIPTDIR
. "$GROUND/mariadb/lib.sh"
# shellcheck source-path=SCRIPTDIR
. "$GROUND/topology/lib.sh"
# shellcheck source-path=SCRIPTDIR
. "$GROUND/operator.sh"

# tablet_exec UID SCRIPT [CONTAINER]: a shell script in one of the tablet's containers.
tablet_exec() { in_namespace exec "$(tablet_pod "$1")" -c "${3:-mysqld}" -- bash -c "$2"; }

# add_tablet UID [VTTABLET-FLAG...]: one more tablet in the shard; returns before it serves.
add_tablet() { tablet_manifest "$@" | in_namespace apply -f - >/dev/null; }

# wait_serving UID [SECONDS]: until the tablet's pod is Ready, which takes a query through vttablet.
wait_serving() {
  await 120 "the pod of tablet $1" in_namespace get pod "$(tablet_pod "$1")"
  in_namespace wait pod "$(tablet_pod "$1")" --for=condition=Ready --timeout="${2:-240}s" >/dev/null
}

# put_aside UID, bring_back UID: takes a tablet out of its shard, and puts it there again; its volume stays.
put_aside() {
  in_namespace scale "statefulset/$(tablet_alias "$1")" --replicas=0 >/dev/null &&
    in_namespace wait pod "$(tablet_pod "$1")" --for=delete --timeout=180s >/dev/null &&
    vtctldclient DeleteTablets "$(tablet_alias "$1")"
}
bring_back() {
  in_namespace scale "statefulset/$(tablet_alias "$1")" --replicas=1 >/dev/null && wait_serving "$1" && wait_caught_up "$1" 240
}

# start_vtorc, stop_vtorc: with it, replication that stands still is started by it and by nobody else.
start_vtorc() {
  with_our_image "$TABLET_IMAGE" < "$VITESS/manifests/vtorc.yaml" | in_namespace apply -f - >/dev/null &&
    in_namespace rollout status deploy/vtorc --timeout=120s >/dev/null
}
stop_vtorc() {
  in_namespace delete deploy/vtorc --ignore-not-found >/dev/null &&
    in_namespace wait pod -l planetscale.com/component=vtorc --for=delete --timeout=60s >/dev/null
}

# vtorc_says PATH: what its HTTP API answers, as one line of JSON.
vtorc_says() {
  # shellcheck disable=SC2016
  in_namespace exec deploy/vtorc -- bash -c '
    exec 3<>/dev/tcp/localhost/16000 && printf "GET %s HTTP/1.0\r\n\r\n" "$1" >&3 && cat <&3' vtorc_says "$1" |
    sed '1,/^\r*$/d' | tr -d '\n'
}

# vtorc_knows UID: it has looked at that tablet's MySQL.
vtorc_knows() { vtorc_says /api/database-state | grep -q "$(tablet_alias "$1")"; }

# vtorc_is_content: it finds nothing to mend, and no tablet that is behind, wrong or has transactions of its own.
vtorc_is_content() {
  local path said
  for path in /api/detection-analysis /api/problems /api/errant-gtids; do
    said=$(vtorc_says "$path") || return 1
    [[ $said == null || $said == '[]' ]] || { say "vtorc says of $path: $said"; return 1; }
  done
}

# wait_vtorc_content UID: until it knows that tablet too and is content.
wait_vtorc_content() {
  await 60 "vtorc to know of tablet $1" vtorc_knows "$1" && { await 60 'vtorc to be content' vtorc_is_content || vtorc_is_content; }
}

# remove_example_tablets: what examples/pod-start-statefulset.yaml makes: the tablets 110 and 111.
remove_example_tablets() {
  local uid
  in_namespace delete statefulset zone1-replica --ignore-not-found --timeout=180s >/dev/null &&
    in_namespace wait pod -l app=zone1-replica --for=delete --timeout=180s >/dev/null &&
    in_namespace delete pvc vtdataroot-zone1-replica-0 vtdataroot-zone1-replica-1 --ignore-not-found --timeout=60s >/dev/null || return 1
  for uid in 110 111; do
    ! vtctldclient GetTablet "$(tablet_alias "$uid")" >/dev/null 2>&1 || vtctldclient DeleteTablets "$(tablet_alias "$uid")" || return 1
  done
}

# destroy_data UID: the accident. Every file of MySQL's is removed under the running mysqld, which then dies.
destroy_data() {
  # The container dies with mysqld, which may cut this very command off.
  tablet_exec "$1" "rm -rf $(tablet_dir "$1")/{data,innodb,relay-logs,bin-logs}/*; sync; pkill -KILL -x mysqld" || true
  await 60 "mysqld of tablet $1 to be gone" mysqld_is_gone "$1"
}

mysqld_is_gone() { ! tablet_sql "$1" 'select 1' 2>/dev/null; }

# kill_engine RUN_UID: SIGKILL to the engine of that run, as when a node runs out of memory; it gets no time to tidy up.
# In a cluster that was given there is no way into the node: the pod is deleted without grace, which is the next worst.
kill_engine() {
  local label="backup.vitess.io/run-uid=$1" id
  if [ -n "$KUBECONFIG_GIVEN" ]; then
    in_namespace delete pod -l "$label" --grace-period=0 --force --wait=false
    return
  fi
  id=$(in_namespace get pod -l "$label" -o 'jsonpath={.items[0].status.containerStatuses[0].containerID}') || return 1
  [ -n "$id" ] || { say "no engine of run $1 is running"; return 1; }
  in_node ctr -n k8s.io task kill --signal SIGKILL "${id#containerd://}"
}

# engines_gone RUN_UID: no engine pod of that run is there any more.
engines_gone() {
  local pods
  pods=$(in_namespace get pods -l "backup.vitess.io/run-uid=$1" -o name) && [ -z "$pods" ]
}

# leading_operator: the name of the operator's pod that acts.
leading_operator() {
  kubectl -n vitess-backup-operator get lease vitess-backup-operator -o 'jsonpath={.spec.holderIdentity}'
}

# both_operators_ready [SECONDS]
both_operators_ready() {
  kubectl -n vitess-backup-operator wait deployment/vitess-backup-operator \
    --for=jsonpath='{.status.readyReplicas}'=2 --timeout="${1:-120}s" >/dev/null
}

# freeze_operator POD: that operator does nothing any more and says nothing, as when its node hangs; thaw_operator POD lets it go on.
# In a cluster that was given the pod is deleted without grace, and there is nothing to thaw.
freeze_operator() {
  if [ -n "$KUBECONFIG_GIVEN" ]; then
    kubectl -n vitess-backup-operator delete pod "$1" --grace-period=0 --force --wait=false
  else
    signal_operator SIGSTOP "$1"
  fi
}
thaw_operator() { [ -n "$KUBECONFIG_GIVEN" ] || signal_operator SIGCONT "$1"; }

# stop_operators, start_operators: takes the chart's operators away, so that a test can run its own, and brings them back.
stop_operators() {
  kubectl -n vitess-backup-operator scale deployment/vitess-backup-operator --replicas=0 >/dev/null &&
    kubectl -n vitess-backup-operator wait pod -l app.kubernetes.io/name=vitess-backup-operator --for=delete --timeout=60s >/dev/null
}
start_operators() {
  kubectl -n vitess-backup-operator scale deployment/vitess-backup-operator --replicas=2 >/dev/null && both_operators_ready 120
}

# uninstall_operator, install_operator_again: the chart goes as the documents say, and comes back as up.sh installs it.
uninstall_operator() {
  "$GROUND/helm.sh" uninstall vitess-backup-operator --namespace "$OPERATOR_NAMESPACE" >/dev/null &&
    kubectl -n "$OPERATOR_NAMESPACE" wait pod -l app.kubernetes.io/name=vitess-backup-operator --for=delete --timeout=120s >/dev/null
}
install_operator_again() {
  local image
  image=$(make -s -C "$PROJECT" print-image-archive) && install_operator "$image" && both_operators_ready
}

# webhook_policy Fail|Ignore: what becomes of a labelled pod while no operator answers; the chart's value is Fail.
webhook_policy() {
  kubectl patch mutatingwebhookconfiguration vitess-backup-operator --type=json \
    -p "[{\"op\": \"replace\", \"path\": \"/webhooks/0/failurePolicy\", \"value\": \"$1\"}]" >/dev/null
}

# api_server_away SECONDS: kills the API server, keeps it from being started again for so long, and waits until it answers. Etcd,
# the kubelet and every pod go on.
api_server_away() {
  [ -z "$KUBECONFIG_GIVEN" ] || { say "the API server of a cluster that was given is not ours to kill"; return 1; }
  # shellcheck disable=SC2016
  in_node bash -c '
    server=$(pgrep -x kube-apiserver) && keeper=$(ps -o ppid= -p "$server") || exit 1
    trap "kill -CONT $keeper" EXIT
    kill -STOP $keeper && kill -KILL "$server" && sleep "$1"
  ' api_server_away "$1" || return 1
  await 60 "the API server to answer" kubectl --request-timeout=5s get --raw /readyz
}

# freeze_kubelet: the kubelet does nothing any more and says nothing, as when the node has lost its network, and every pod goes on;
# thaw_kubelet lets it go on.
freeze_kubelet() {
  [ -z "$KUBECONFIG_GIVEN" ] || { say "the kubelet of a cluster that was given is not ours to stop"; return 1; }
  in_node pkill -STOP -x kubelet
}
thaw_kubelet() { in_node pkill -CONT -x kubelet; }

signal_operator() {
  local id
  id=$(operator_container "$2") || return 1
  in_node ctr -n k8s.io task kill --signal "$1" "$id"
}

# operator_container POD: what containerd calls it.
operator_container() {
  local id
  id=$(kubectl -n vitess-backup-operator get pod "$1" -o 'jsonpath={.status.containerStatuses[0].containerID}') || return 1
  printf '%s\n' "${id#containerd://}"
}

# vitess_backup ARG...: the command line, in a pod of its own with the shard's backup volume at /backup-storage, and the Secret
# BY_HAND_SECRET at /by-hand-secret when that is set.
vitess_backup() {
  local pod=by-hand-$RANDOM$RANDOM reference status=0 mount='' volume=''
  if [ -n "${BY_HAND_SECRET:-}" ]; then
    mount=', {name: secret, mountPath: /by-hand-secret}'
    volume="- {name: secret, secret: {secretName: $BY_HAND_SECRET}}"
  fi
  reference=$(image_ref vitess-backup-operator:dev)
  in_namespace apply -f - >/dev/null <<END
apiVersion: v1
kind: Pod
metadata: {name: $pod}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, runAsUser: 999, runAsGroup: 999, fsGroup: 999, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: vitess-backup
    image: $reference
    imagePullPolicy: IfNotPresent
    args: $(jq -nc '$ARGS.positional' --args -- "$@")
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: storage, mountPath: /backup-storage}$mount]
  volumes:
  - name: storage
    persistentVolumeClaim: {claimName: vitess-backups}
  $volume
END
  in_namespace wait pod "$pod" --for=jsonpath='{.status.containerStatuses[0].state.terminated}' --timeout=60s >/dev/null || status=1
  in_namespace logs "$pod"
  [ "$(in_namespace get pod "$pod" -o 'jsonpath={.status.containerStatuses[0].state.terminated.exitCode}')" = 0 ] || status=1
  in_namespace delete pod "$pod" --wait=false >/dev/null
  return $status
}

# operator_process: the number of the leading operator's process inside the node; the one that stands by holds other things.
operator_process() {
  local pod id tasks
  pod=$(leading_operator) && id=$(operator_container "$pod") && tasks=$(in_node ctr -n k8s.io task ls) || return 1
  awk -v id="$id" '$1 == id {print $2; found = 1} END {exit !found}' <<< "$tasks"
}

# operator_memory VmRSS|VmHWM: that process's memory in KiB, now or at most.
operator_memory() {
  local pid
  pid=$(operator_process) || return 1
  in_node cat "/proc/$pid/status" | awk -v field="$1:" '$1 == field {print $2}'
}

# forget_operator_peak: VmHWM counts from now on (see clear_refs in proc(5)).
forget_operator_peak() {
  local pid
  pid=$(operator_process) || return 1
  # shellcheck disable=SC2016
  in_node bash -c 'echo 5 > "/proc/$1/clear_refs"' forget_operator_peak "$pid"
}
