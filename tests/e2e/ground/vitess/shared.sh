# shellcheck shell=bash
# shellcheck disable=SC2034  # what is set here is read by the scripts that source this file
# What the scripts of this folder share: versions, names, and a place that every user can reach. Source after env.sh.

VITESS=$GROUND/vitess
VITESS_VERSION=$(sed -n "s|^\(require \)\?[[:space:]]*vitess.io/vitess v\([0-9.]*\).*|\2|p" "$VITESS/programs/go.mod")
TABLET_IMAGE=vitess-tablet:24.0.0-mysql9.7     # the manifests name it too
REACHABLE_CACHE=/var/cache/vitess-backup-operator

# reachable DIR: can a user like nobody get at DIR? Root's home, where the cache sits by default, is often closed.
reachable() {
  local dir
  dir=$(realpath -m "$1")
  while [ "$dir" != / ]; do
    [ ! -e "$dir" ] || (( 0$(stat -c %a "$dir") & 1 )) || return 1
    dir=${dir%/*}
    dir=${dir:-/}
  done
}
