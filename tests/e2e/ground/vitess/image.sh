#!/bin/bash
# image.sh: the tablet image localhost/vitess-tablet:24.0.0-mysql9.7, built when it is not there, and loaded into the
# cluster. image.sh build: only builds it, and prints the path of the archive.
# In it: Debian sid's mysqld 9.7 and clients, bash, coreutils, procps; Vitess's programs in /vt/bin; etcd and etcdctl for
# the topology server; user vitess, uid and gid 999, as in Vitess's own images.
set -euo pipefail
. "$(dirname "$0")/../env.sh"
. "$(dirname "$0")/shared.sh"
export GROUND VITESS TABLET_IMAGE

pack() {
  local out=$1 rootfs=$2 programs=$3 root=$1.root
  say "packing the image localhost/$TABLET_IMAGE" "15 s, 850 MB"
  rm -rf "$root"
  cp -a "$rootfs" "$root"
  rm -f "$root/usr/bin/patchelf"
  mkdir -p "$root"/vt/{bin,config,vtdataroot} "$root/backups"
  cp "$programs"/* "$root/vt/bin/"
  cp "$VITESS/small.cnf" "$root/vt/config/"
  printf '%s\n' root:x:0:0:root:/root:/bin/bash vitess:x:999:999::/vt:/bin/bash > "$root/etc/passwd"
  printf '%s\n' root:x:0: vitess:x:999: > "$root/etc/group"
  [ "$(id -u)" != 0 ] || chown -R 999:999 "$root"/vt/vtdataroot "$root/backups"
  IMAGE_USER=999:999 IMAGE_CMD='["bash"]' \
    IMAGE_ENV=$'PATH=/vt/bin:/usr/local/bin:/usr/sbin:/usr/bin\nVTROOT=/vt\nVTDATAROOT=/vt/vtdataroot' \
    "$GROUND/images/mkimage.sh" "localhost/$TABLET_IMAGE" "$root" "$out"
  rm -rf "$root"
}

rootfs=$("$VITESS/mysql.sh" rootfs)
programs=$("$VITESS/build.sh")
key=$(recipe_key "$VITESS_VERSION" "$VITESS"/{image,shared}.sh "$VITESS/small.cnf" "$GROUND/images/mkimage.sh" <(basename -a "$rootfs" "$programs"))
image=$(cached tablet-image "$key" pack "$rootfs" "$programs")
case ${1:-load} in
  load) "$GROUND/images/load.sh" "$image" ;;
  build) printf '%s\n' "$image" ;;
  *) die "usage: image.sh [build]" ;;
esac
