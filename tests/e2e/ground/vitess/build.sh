#!/bin/bash
# build.sh: prints the folder of the Vitess programs (mysqlctl mysqlctld vtbackup vtctld vtctldclient vtorc vttablet),
# and builds them from the Go module first when they are not there. They are static, so they run in any image.
# build.sh host: prints a folder of the same that every user of this machine can reach, because Vitess refuses root.
set -euo pipefail
. "$(dirname "$0")/../env.sh"
. "$(dirname "$0")/shared.sh"
export PROGRAMS=$VITESS/programs VITESS_VERSION

build() {
  say "building Vitess $VITESS_VERSION from its Go module" "4 to 6 min on 2 cores, 20 s when Go's build cache is warm"
  mkdir "$1"
  cd "$PROGRAMS"
  CGO_ENABLED=0 nice -n 10 go build -mod=readonly -trimpath -buildvcs=false -ldflags '-s -w' -o "$1/" tool
}

copy() { cp -r "$2" "$1"; chmod -R a+rX "$1"; }

key=$(recipe_key "$VITESS_VERSION" "$PROGRAMS"/go.{mod,sum} "$VITESS/build.sh")
programs=$(cached vitess "$key" build)
case ${1:-programs} in
  programs) printf '%s\n' "$programs" ;;
  host)
    if reachable "$VBO_CACHE"; then printf '%s\n' "$programs"; exit; fi
    VBO_CACHE=$REACHABLE_CACHE cached vitess-host "$key" copy "$programs" ;;
  *) die "usage: build.sh [host]" ;;
esac
