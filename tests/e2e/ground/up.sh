#!/bin/bash
# up.sh: a one-node Kubernetes cluster on this machine, built from packages; nothing to do when it is up and healthy.
# With a KUBECONFIG of your own (or VBO_KUBECONFIG) nothing is started: it only checks that the cluster answers.
# Afterwards: . tests/e2e/ground/env.sh; kubectl get nodes
set -euo pipefail
exec </dev/null
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/env.sh"
# shellcheck source-path=SCRIPTDIR
. "$GROUND/kubernetes/cgroup.sh"

check_given_cluster() {
  command -v kubectl >/dev/null || die "kubectl is missing: kubernetes.io/docs/tasks/tools"
  kubectl --request-timeout=10s get --raw /readyz >/dev/null || die "the cluster of $KUBECONFIG does not answer"
  say "using the cluster of $KUBECONFIG"
}

api_ready() { curl --noproxy '*' -fs -o /dev/null -m 2 --cacert "$STATE/pki/ca.crt" "https://$NODE_IP:6443/readyz"; }
node_ready() {
  [ "$(kubectl --request-timeout=5s get node "$NODE_NAME" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]
}
has_default_service_account() { kubectl --request-timeout=5s -n default get serviceaccount default; }
containerd_ready() { in_node ctr version; }
healthy() { api_ready && node_ready && has_default_service_account; }

# What down.sh compares with: the sysctls without a namespace that Kubernetes is known to set, as they are now.
note_sysctls() {
  local name
  cat /proc/sys/kernel/random/boot_id
  for name in net/ipv4/ip_forward vm/{overcommit_memory,panic_on_oom} kernel/{panic,panic_on_oops} \
    kernel/keys/root_max{keys,bytes} net/netfilter/nf_conntrack_max; do
    [ ! -e "/proc/sys/$name" ] || echo "$name $(cat "/proc/sys/$name")"
  done
}

# traces: succeeds when something of an earlier run is still there, dead or alive.
traces() { [ -e "$STATE/node.pid" ] || [ -n "$(cgroups_left)" ] || ip link show "$NODE_LINK" >/dev/null 2>&1; }

# start_node: namespaces and process 1. Its process id, seen from here, goes to $STATE/node.pid.
start_node() {
  local starter pid=''
  make_cgroups
  (
    enter_cgroups
    # Whatever was open here (locks, a caller's pipes) must not stay open for as long as the node lives.
    for fd in /proc/"$BASHPID"/fd/*; do
      fd=${fd##*/}
      [ "$fd" -le 2 ] || eval "exec $fd>&-"
    done
    exec setsid env -i HOME=/root TMPDIR="$STATE/tmp" PATH="$PATH" \
      unshare --mount --net --pid --uts --ipc --fork --kill-child bash "$STATE/node.sh" "$STATE" \
      </dev/null >> "$STATE/log/node.log" 2>&1
  ) &
  starter=$!
  disown "$starter"
  # unshare makes the namespaces before it forks, so its child is in them already.
  for _ in $(seq 100); do
    pid=$(tr -d ' ' < "/proc/$starter/task/$starter/children" 2>/dev/null) && [ -n "$pid" ] &&
      [ "$(cat "/proc/$starter/comm")" = unshare ] && break
    sleep 0.05
  done
  [ -n "$pid" ] || die "the node did not start; see $STATE/log/node.log"
  readlink "/proc/$pid/ns/net" "/proc/$pid/ns/mnt" > "$STATE/namespaces"
  echo "$pid" > "$STATE/node.pid"
  # A private pair of addresses, and routes so that pods and ClusterIPs are reachable from here.
  ip link add "$NODE_LINK" type veth peer name eth0 netns "$pid"
  ip addr add "$HOST_IP/30" dev "$NODE_LINK"
  ip link set "$NODE_LINK" up
  ip route replace "$POD_CIDR" via "$NODE_IP"
  ip route replace "$SERVICE_CIDR" via "$NODE_IP"
}

pack_pause() {
  local root=$1.root
  rm -rf "$root"
  mkdir -m 755 "$root"
  cp "$2" "$root/pause"
  "$GROUND/images/mkimage.sh" localhost/vbo-pause:1 "$root" "$1" /pause
  rm -rf "$root"
}

# Whatever goes wrong half-way, nothing half-started stays behind.
started=
give_up() {
  local status=$?
  [ -n "$started" ] || return 0
  say "the cluster did not come up; the ends of its logs:"
  tail -n 5 "$STATE"/log/*.log >&2 || true
  VBO_LOCKED=1 "$GROUND/down.sh" || true
  say "logs are in $STATE/log; if its data is to blame: $GROUND/down.sh --purge"
  [ "$status" -ne 0 ] || status=1
  exit "$status"
}

if [ -n "$KUBECONFIG_GIVEN" ]; then check_given_cluster; exit 0; fi
[ "$(id -u)" = 0 ] || die "a local cluster needs root; or give a KUBECONFIG of a cluster of your own"
[[ $CLUSTER_ID =~ ^[0-9]+$ && $CLUSTER_ID -le 250 ]] || die "CLUSTER_ID must be 0..250, not $CLUSTER_ID"
mkdir -p "$STATE" "$VBO_CACHE/lock"
exec 9> "$VBO_CACHE/lock/cluster$CLUSTER_ID"
flock 9

# Before looking whether the cluster is up, so that kubectl is there for whoever sources env.sh afterwards.
"$GROUND/packages.sh"
programs=$("$GROUND/kubernetes/build.sh")
pause_key=$(recipe_key 1 "$GROUND"/kubernetes/pause/main.go "$GROUND/images/mkimage.sh")
export GROUND
pause=$(cached pause-image "$pause_key" pack_pause "$KUBE_BIN/pause")

version=$(cat "$STATE/version" 2>/dev/null || true)
if node_pid >/dev/null && [ "$version" = "$KUBERNETES_VERSION" ] && healthy >/dev/null 2>&1; then
  say "the cluster is up: Kubernetes $KUBERNETES_VERSION at https://$NODE_IP:6443"
  exit 0
fi

# Also after a node that died or hangs; the data of another Kubernetes version may not be readable to this one.
if [ -n "$version" ] && [ "$version" != "$KUBERNETES_VERSION" ]; then
  say "the cluster's data is of Kubernetes $version; starting anew"
  VBO_LOCKED=1 "$GROUND/down.sh" --purge
elif traces; then
  say "clearing what an earlier run left"
  VBO_LOCKED=1 "$GROUND/down.sh"
fi

say "starting Kubernetes $KUBERNETES_VERSION" "5 s"
mkdir -p "$STATE"
trap give_up EXIT
started=1
"$GROUND/kubernetes/configure.sh" "${programs##*$'\n'}"
echo "$KUBERNETES_VERSION" > "$STATE/version"
note_sysctls > "$STATE/sysctls"
start_node
await 60 containerd containerd_ready
"$GROUND/images/load.sh" "$pause"
await 120 "the API server" api_ready
kubectl apply -f "$GROUND/kubernetes/addons.yaml" >/dev/null
await 120 "the node to be ready" node_ready
await 60 "the default service account" has_default_service_account
started=
say "the cluster is up: Kubernetes $KUBERNETES_VERSION at https://$NODE_IP:6443, KUBECONFIG=$KUBECONFIG"
