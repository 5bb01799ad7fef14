#!/bin/bash
# build.sh SERVER: prints the program of a storage server that tests start, and builds it first when it is not in the
# cache: versitygw and s3s-fs (S3), azurite (Azure Blob), fake-gcs-server (Google Cloud Storage); of radosgw (Ceph), which is
# several programs, the folder.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../env.sh"
export STORAGE=$GROUND/storage
export S3S_VERSION=0.14.1

go_server() {
  say "building $2 from its Go module" "1 to 3 min on 2 cores"
  cd "$STORAGE/servers"
  CGO_ENABLED=0 nice go build -mod=readonly -trimpath -buildvcs=false "$QUICK_GO" -ldflags '-s -w' -o "$1" "$3"
}

s3s() {
  say "building s3s-fs $S3S_VERSION from its crate" "1 min on 2 cores"
  # Not in the project's target folder, whose dependencies have other features. Optimised a little: no test measures it.
  env -u CARGO_TARGET_DIR CARGO_PROFILE_RELEASE_OPT_LEVEL=1 nice \
    cargo install --quiet --locked --root "$1" --version "$S3S_VERSION" --features binary s3s-fs
}

azurite() {
  say "installing azurite from its npm packages" "20 s"
  mkdir "$1"
  cp "$STORAGE"/azurite/package*.json "$1/"
  (cd "$1" && npm ci --silent --no-audit --no-fund --ignore-scripts)
}

version_of() { sed -n "s|^[[:space:]]*$1 v\([^ ]*\).*|\1|p" "$STORAGE/servers/go.mod"; }

server=${1:-}
recipe=("$STORAGE/build.sh")
case $server in
  versitygw) module=github.com/versity/versitygw package=$module/cmd/versitygw ;;
  fake-gcs-server) module=github.com/fsouza/fake-gcs-server package=$module ;;
esac
case $server in
  versitygw | fake-gcs-server)
    key=$(recipe_key "$(version_of "$module")" "$STORAGE"/servers/go.{mod,sum} "${recipe[@]}")
    cached "$server" "$key" go_server "$server" "$package" ;;
  s3s-fs | s3s-fs-anonymous)
    found=$(cached s3s-fs "$(recipe_key "$S3S_VERSION" "${recipe[@]}")" s3s)
    printf '%s\n' "$found/bin/s3s-fs" ;;
  azurite)
    key=$(recipe_key x "$STORAGE"/azurite/package*.json "${recipe[@]}")
    found=$(cached azurite "$key" azurite)
    printf '%s\n' "$found/node_modules/.bin/azurite-blob" ;;
  radosgw) exec "$STORAGE/radosgw.sh" build ;;
  *) die "usage: build.sh versitygw|s3s-fs|azurite|fake-gcs-server|radosgw" ;;
esac
