# shellcheck shell=bash
# The cgroup that holds the whole node, so that what belongs to a cluster is known and can be ended. Sourced by up.sh
# and down.sh after env.sh.
#
# With cgroup v1 there is a folder of it in every hierarchy; with v2 there is one. The project's own test machines have
# v1 (kubelet still takes it with failCgroupV1: false); the few lines for v2 follow the kernel's cgroup-v2.rst and have
# not been run by us.

# hierarchies: the mount point of each hierarchy, one a line.
hierarchies() { awk '$2 ~ "^/sys/fs/cgroup" && ($3 == "cgroup" || $3 == "cgroup2") {print $2}' /proc/mounts; }

cgroup_is_v2() { [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; }

# enable_controllers DIR: let the children of this v2 cgroup have every controller that it has itself.
enable_controllers() {
  local controllers c
  read -ra controllers < "$1/cgroup.controllers"
  for c in "${controllers[@]}"; do
    echo "+$c" > "$1/cgroup.subtree_control" || say "cgroup controller $c cannot be had below $1"
  done
}

make_cgroups() {
  local top dir
  for top in $(hierarchies); do
    mkdir -p "$top/$NODE_CGROUP/node"
    # A new v1 cpuset is empty, and no process can be put into it.
    if [ -e "$top/cpuset.cpus" ] && ! cgroup_is_v2; then
      for dir in "$top/$NODE_CGROUP" "$top/$NODE_CGROUP/node"; do
        cat "$top/cpuset.cpus" > "$dir/cpuset.cpus"
        cat "$top/cpuset.mems" > "$dir/cpuset.mems"
      done
    fi
  done
  if cgroup_is_v2; then
    enable_controllers /sys/fs/cgroup
    enable_controllers "/sys/fs/cgroup/$NODE_CGROUP"
  fi
}

# enter_cgroups: the calling process, and what it starts, moves into the node's cgroup.
enter_cgroups() {
  local top
  for top in $(hierarchies); do echo "$BASHPID" > "$top/$NODE_CGROUP/node/cgroup.procs"; done
}

# cgroups_left: the node's cgroups that are still there, one a line.
cgroups_left() {
  local top
  for top in $(hierarchies); do [ ! -e "$top/$NODE_CGROUP" ] || find "$top/$NODE_CGROUP" -type d; done
}

# kill_cgroups: SIGKILL to whatever is still in one of them.
kill_cgroups() {
  local dir
  for dir in $(cgroups_left); do xargs -r kill -KILL < "$dir/cgroup.procs" 2>/dev/null || true; done
}

# remove_cgroups: fails when one of them still has a process in it.
remove_cgroups() {
  local top
  for top in $(hierarchies); do
    [ ! -e "$top/$NODE_CGROUP" ] || find "$top/$NODE_CGROUP" -depth -type d -exec rmdir {} \; 2>/dev/null || true
  done
  [ -z "$(cgroups_left)" ]
}
