# shellcheck shell=bash disable=SC2034
# Names, paths and a few functions shared by everything that starts the test ground. Source it; it changes no shell
# option, prints nothing, and may be sourced more than once.
#
# Settings a caller may give in the environment
#   VBO_CACHE       where everything built is kept         (default ~/.cache/vitess-backup-operator)
#   CLUSTER_ID      0..250: several clusters side by side  (default 0)
#   VBO_KUBECONFIG  use this cluster instead of a local one; a KUBECONFIG that is not ours counts too
#   VBO_REGISTRY    registry/prefix that such a cluster pulls our images from
#
# What it sets: GROUND, VBO_CACHE, CLUSTER_ID, STATE, KUBECONFIG, KUBECONFIG_GIVEN ("" or 1), PATH with kubectl,
# KUBE_BIN (folder of the Kubernetes programs, which may not be built yet), the cluster's addresses and names.

GROUND=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export VBO_CACHE=${VBO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vitess-backup-operator}
export CLUSTER_ID=${CLUSTER_ID:-0}
STATE=$VBO_CACHE/state/c$CLUSTER_ID

NODE_NAME=node1
NODE_IP=10.99.$CLUSTER_ID.2          # the node and its API server (port 6443)
HOST_IP=10.99.$CLUSTER_ID.1          # this machine as pods and the API server see it
POD_CIDR=10.244.$CLUSTER_ID.0/24
SERVICE_CIDR=10.96.$CLUSTER_ID.0/24
API_SERVICE_IP=10.96.$CLUSTER_ID.1
NODE_CGROUP=vbo-ground$CLUSTER_ID    # holds every process of the cluster, in every cgroup hierarchy
NODE_LINK=vbo$CLUSTER_ID             # this machine's end of the veth pair
export NODE_NAME NODE_IP HOST_IP

# --- progress and failure -----------------------------------------------------------------------------------------

# say WHAT [USUALLY]: one timestamped progress line. To stderr, because stdout carries answers (paths, references).
say() { printf '%s %s%s\n' "$(date +%T)" "$1" "${2:+ (usually $2)}" >&2; }

# die WHAT: say it and end the shell.
die() { printf '%s FAILED: %s\n' "$(date +%T)" "$*" >&2; exit 1; }

# await SECONDS WHAT COMMAND...: runs the command (silenced) five times a second until it succeeds; fails, and says so,
# when it has not by then.
await() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt "$deadline" ] || { say "gave up waiting for $what"; return 1; }
    # Most of what is asked takes a good part of a second of a core.
    sleep 0.7
  done
}

# How Go builds what no test measures: not inlined and without debugging data, which takes a third less processor time.
# Vitess is built as its own makefile does, for the benchmarks compare with it.
export QUICK_GO=-gcflags='all=-l -dwarf=false'

# --- things that are built once -----------------------------------------------------------------------------------

# recipe_key VERSION FILE...: the key of what is built from these files; it changes whenever one of them does.
recipe_key() {
  local version=$1 sum
  shift
  sum=$(cat -- "$@" | sha256sum) || die "cannot read the recipe: $*"
  printf '%s-%s\n' "$version" "${sum:0:12}"
}

# cached NAME KEY BUILD [ARG...]: prints the path of artefact NAME at KEY; when it is not there, runs
# `BUILD OUT [ARG...]`, which makes the file or folder OUT. BUILD is a command or a function.
# Interrupted builds leave only OUT.part behind, and the lock keeps two runs from building the same thing. A function
# runs in a fresh `bash -euo pipefail` with all functions and the exported variables: called in here, its `set -e`
# would not count whenever the caller stands in an `if` or before `||`, and a half-built thing would pass for done.
cached() {
  local name=$1 key=$2 out lock
  shift 2
  out=$VBO_CACHE/built/$name/$key
  lock=$VBO_CACHE/lock/$name-$key
  if [ ! -e "$out" ]; then
    mkdir -p "${out%/*}" "${lock%/*}" || return 1
    flock --nonblock "$lock" true || say "another run is making $name; waiting for it"
    # The builder inherits the lock, so that it is held for as long as any part of the builder lives.
    # shellcheck disable=SC2016
    flock "$lock" bash -euo pipefail -c "$(declare -f)"'
      out=$1; build=$2; shift 2
      [ ! -e "$out" ] || exit 0                 # another run made it in the meantime
      rm -rf --one-file-system "$out.part"
      "$build" "$out.part" "$@" >&2 </dev/null
      [ -e "$out.part" ] || die "$build made no $out.part"
      mv -T "$out.part" "$out"
      # keys that nobody has asked for in a month
      find "${out%/*}" -mindepth 1 -maxdepth 1 -mtime +30 -exec rm -rf --one-file-system {} +
    ' cached "$out" "$@" || { say "could not make $name"; return 1; }
  fi
  touch -c "$out"
  printf '%s\n' "$out"
}

# --- the cluster --------------------------------------------------------------------------------------------------

# node_pid: the process id of the local node's PID 1, seen from this machine; fails when the node is not up.
# The cgroup is looked at because the number may have been given to another process after a reboot.
node_pid() {
  local pid
  pid=$(cat "$STATE/node.pid" 2>/dev/null) && [ -n "$pid" ] &&
    grep -qs "/$NODE_CGROUP/node" "/proc/$pid/cgroup" && printf '%s\n' "$pid"
}

# in_node COMMAND...: run a command of this machine inside the node (its mounts, network and processes).
in_node() {
  local pid
  pid=$(node_pid) || { say "the local cluster is not up: run $GROUND/up.sh"; return 1; }
  nsenter -t "$pid" -m -n -p -u -i -- "$@"
}

# image_ref NAME:TAG: what a pod writes in `image:` for an image of ours. Images are always built as localhost/NAME:TAG;
# for a cluster that was given, load.sh pushes them under VBO_REGISTRY.
image_ref() {
  if [ -z "$KUBECONFIG_GIVEN" ]; then printf 'localhost/%s\n' "$1"; return; fi
  [ -n "${VBO_REGISTRY:-}" ] || die "a cluster of your own needs VBO_REGISTRY, the registry it pulls our images from"
  printf '%s/%s\n' "${VBO_REGISTRY%/}" "$1"
}

KUBERNETES_VERSION=$(sed -n 's|^\tk8s.io/kubernetes v||p' "$GROUND/kubernetes/go.mod")
KUBE_RECIPE=("$GROUND"/kubernetes/{go.mod,go.sum,*.go,kubectl/*.go,pause/*.go,build.sh})
KUBE_BIN=$VBO_CACHE/built/kubernetes/$(recipe_key "$KUBERNETES_VERSION" "${KUBE_RECIPE[@]}")

_ours=$VBO_CACHE/state
if [ -n "${VBO_KUBECONFIG:-}" ]; then
  KUBECONFIG_GIVEN=1
  KUBECONFIG=$VBO_KUBECONFIG
elif [ -n "${KUBECONFIG:-}" ] && [[ $KUBECONFIG != "$_ours"/* ]]; then
  KUBECONFIG_GIVEN=1
else
  KUBECONFIG_GIVEN=
  KUBECONFIG=$STATE/pki/admin.kubeconfig
  # kubectl would otherwise write its discovery cache to the home folder and mix up clusters that share an address
  export KUBECACHEDIR=$STATE/kubecache
  # a proxy meant for the internet must not get in between
  [[ ,${NO_PROXY:-}, == *,$NODE_IP,* ]] ||
    export NO_PROXY="${NO_PROXY:+$NO_PROXY,}$NODE_IP" no_proxy="${no_proxy:+$no_proxy,}$NODE_IP"
  [[ :$PATH: == *:$KUBE_BIN:* ]] || PATH=$KUBE_BIN:$PATH
fi
unset _ours
export KUBECONFIG KUBECONFIG_GIVEN
# Debian keeps ip, nft, iptables and runc there, and a plain user's PATH may lack it.
[[ :$PATH: == *:/usr/sbin:* ]] || PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH
