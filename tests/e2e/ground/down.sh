#!/bin/bash
# down.sh [--purge]: stops the local cluster; --purge removes its data as well. Checks that no process, mount, network
# namespace, link, route, cgroup or changed sysctl of it is left, and fails, naming it, when one is.
set -euo pipefail
exec </dev/null
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/env.sh"
# shellcheck source-path=SCRIPTDIR
. "$GROUND/kubernetes/cgroup.sh"

case ${1:-} in '' | --purge) ;; *) die "usage: down.sh [--purge]" ;; esac
if [ -n "$KUBECONFIG_GIVEN" ]; then say "the cluster of $KUBECONFIG is yours: nothing is stopped"; exit 0; fi
if [ -z "${VBO_LOCKED:-}" ]; then    # up.sh holds the lock when it calls
  mkdir -p "$VBO_CACHE/lock"
  exec 9> "$VBO_CACHE/lock/cluster$CLUSTER_ID"
  flock 9
fi

gone() { ! [ -d "/proc/$1" ]; }

# Process 1 of the node takes everything in its process namespace with it.
stop_node() {
  local pid
  pid=$(node_pid) || return 0
  say "stopping the cluster" "1 to 3 s"
  kill -TERM "$pid"
  await 6 "the node to stop by itself" gone "$pid" || kill -KILL "$pid"
  await 10 "the node to end" gone "$pid" || true
}

remove_network() {
  # The routes go with the link.
  if ip link show "$NODE_LINK" >/dev/null 2>&1; then ip link del "$NODE_LINK"; fi
}

# left: one line for each thing that should not be there any more.
left() {
  local namespace name value boot
  cgroups_left | sed 's/^/cgroup /'
  awk -v dir="$STATE/" 'index($2, dir) == 1 {print "mount " $2}' /proc/mounts
  ! ip link show "$NODE_LINK" >/dev/null 2>&1 || echo "network link $NODE_LINK"
  ip route | grep -F "via $NODE_IP " | sed 's/^/route /' || true
  # Only a process or a mount can keep a namespace alive; its name has brackets, which find takes for a pattern.
  while read -r namespace; do
    find /proc -maxdepth 3 -path '/proc/[0-9]*/ns/*' -lname "${namespace//[/\\[}" -printf "$namespace held by process: %p\\n" 2>/dev/null || true
    grep -F "$namespace" /proc/self/mountinfo | sed 's/^/namespace held by mount: /' || true
  done < <(cat "$STATE/namespaces" 2>/dev/null)
  {
    read -r boot || return 0
    [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] || return 0
    while read -r name value; do
      [ "$(cat "/proc/sys/$name")" = "$value" ] || echo "sysctl $name is $(cat "/proc/sys/$name"), was $value"
    done
  } < <(cat "$STATE/sysctls" 2>/dev/null)
}

stop_node
# Nothing of the node can be alive now unless its process 1 was lost in some other way.
await 10 "the cluster's processes to end" remove_cgroups || { kill_cgroups; await 5 "its killed processes to end" remove_cgroups || true; }
remove_network
remains=$(left)
if [ -n "$remains" ]; then
  say "left behind by cluster $CLUSTER_ID:"
  printf '%s\n' "$remains" >&2
  exit 1
fi
rm -f "$STATE"/{node.pid,namespaces,sysctls}
if [ "${1:-}" = --purge ]; then rm -rf --one-file-system "$STATE"; fi
say "cluster $CLUSTER_ID is down; nothing of it is left running or mounted${1:+, and its data is removed}"
