#!/bin/bash
# promtool.sh ARG...: runs Debian's promtool with these arguments, after unpacking it from the package prometheus when it is
# not in the cache. The package itself is not installed: it would start a Prometheus at the machine's next boot.
# promtool.sh without arguments prints the program's path.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/env.sh"

unpack_promtool() {
  local folder=$1.download
  rm -rf --one-file-system "$folder"
  mkdir -p "$folder"
  say "downloading promtool $PROMETHEUS_VERSION" "5 s, 19 MB"
  (cd "$folder" && apt-get -qq -o APT::Sandbox::User=root download prometheus)
  dpkg-deb --fsys-tarfile "$folder"/*.deb | tar -x -O ./usr/bin/promtool > "$1"
  rm -r "$folder"
  chmod 755 "$1"
  "$1" --version
}

candidate() { apt-cache policy prometheus | sed -n 's/^ *Candidate: *//p'; }
PROMETHEUS_VERSION=$(candidate)
if [[ $PROMETHEUS_VERSION != [0-9]* ]]; then
  say "reading the package index" "5 s"
  apt-get -qq update >&2
  PROMETHEUS_VERSION=$(candidate)
fi
[[ $PROMETHEUS_VERSION == [0-9]* ]] || die "this machine's Debian has no package prometheus"
export PROMETHEUS_VERSION

promtool=$(cached promtool "$(recipe_key "${PROMETHEUS_VERSION//:/_}" "$GROUND/promtool.sh")" unpack_promtool)
if [ $# -eq 0 ]; then printf '%s\n' "$promtool"; exit 0; fi
exec "$promtool" "$@"
