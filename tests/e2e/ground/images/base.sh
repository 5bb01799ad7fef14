#!/bin/bash
# base.sh: prints the folder of a Debian 12 root file system, which the tablet image starts from (copy it, never change
# it). base.sh image: prints the path of the same as an image, localhost/vbo-base:12.
# It has bash, coreutils, procps (pgrep, ps), curl and CA roots. From the machine's own Debian mirror.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../env.sh"

bootstrap() {
  say "making a Debian 12 root file system" "30 s"
  # A mount namespace of its own, so that an interrupted bootstrap cannot leave /proc mounted in the cache.
  # shellcheck disable=SC2016 # $1 is for mmdebstrap to expand
  TMPDIR=${1%/*} unshare --mount mmdebstrap --quiet --mode=root --variant=minbase --include=ca-certificates,curl,procps \
    --dpkgopt='path-exclude=/usr/share/{doc,man,locale,info}/*' \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/log/*.log "$1"/var/log/apt' \
    bookworm "$1"
}

pack() { "$GROUND/images/mkimage.sh" localhost/vbo-base:12 "$2" "$1" /bin/bash; }

key=$(recipe_key 12 "$GROUND/images/base.sh")
root=$(cached base-rootfs "$key" bootstrap)
case ${1:-rootfs} in
  rootfs) printf '%s\n' "$root" ;;
  image)
    export GROUND
    cached base-image "$key-$(recipe_key 1 "$GROUND/images/mkimage.sh")" pack "$root" ;;
  *) die "usage: base.sh [rootfs|image]" ;;
esac
