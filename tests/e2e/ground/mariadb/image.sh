#!/bin/bash
# image.sh: the tablet image localhost/vitess-tablet:24.0.0-mariadb10.11, built when it is not there, and loaded into the
# cluster. image.sh build: only builds it, and prints the path of the archive.
# In it: Debian 12 with its MariaDB 10.11 server and clients where Debian has them; mariabackup and mbstream as xtrabackup
# and xbstream in /opt/xtrabackup/bin, which is in PATH; Vitess's programs in /vt/bin; user vitess, uid and gid 999.
set -euo pipefail
. "$(dirname "$0")/../env.sh"
. "$(dirname "$0")/shared.sh"
export GROUND MARIADB MARIADB_TABLET_IMAGE
# What MariaDB's programs need and a small Debian has not.
export LIBRARY_PACKAGES="libnuma1 libedit2 libbsd0 libncurses6"

pack() {
  local out=$1 base=$2 mariadb=$3 programs=$4 root=$1.root deb program
  say "packing the image localhost/$MARIADB_TABLET_IMAGE" "20 s, 650 MB"
  rm -rf "$root" "$out.debs"
  cp -a "$base" "$root"
  cp -a "$mariadb/root/usr/." "$root/usr/"
  mkdir "$out.debs"
  # shellcheck disable=SC2086
  (cd "$out.debs" && apt-get -qq -o APT::Sandbox::User=root download $LIBRARY_PACKAGES)
  for deb in "$out.debs"/*.deb; do
    # Debian 12 has /lib in /usr, and its packages do not all know.
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --keep-directory-symlink --exclude='./usr/share/'{doc,man}'/*'
  done
  rm -r "$out.debs"
  mkdir -p "$root"/vt/{bin,config,vtdataroot} "$root/backups" "$root/opt/xtrabackup/bin"
  ln -s /usr/bin/mariabackup "$root/opt/xtrabackup/bin/xtrabackup"
  ln -s /usr/bin/mbstream "$root/opt/xtrabackup/bin/xbstream"
  cp "$programs"/* "$root/vt/bin/"
  cp "$MARIADB"/{small.cnf,init_db.sql} "$root/vt/config/"
  printf '%s\n' root:x:0:0:root:/root:/bin/bash vitess:x:999:999::/vt:/bin/bash > "$root/etc/passwd"
  printf '%s\n' root:x:0: vitess:x:999: > "$root/etc/group"
  [ "$(id -u)" != 0 ] || chown -R 999:999 "$root"/vt/vtdataroot "$root/backups"
  for program in sbin/mysqld bin/mariadb bin/mariabackup bin/mbstream; do
    chroot "$root" "/usr/$program" --help >/dev/null || die "$program does not run in Debian 12: is this machine's Debian another one?"
  done
  IMAGE_USER=999:999 IMAGE_CMD='["bash"]' \
    IMAGE_ENV=$'PATH=/vt/bin:/opt/xtrabackup/bin:/usr/local/bin:/usr/sbin:/usr/bin\nVTROOT=/vt\nVTDATAROOT=/vt/vtdataroot' \
    "$GROUND/images/mkimage.sh" "localhost/$MARIADB_TABLET_IMAGE" "$root" "$out"
  rm -rf "$root"
}

base=$("$GROUND/images/base.sh")
mariadb=$("$MARIADB/build.sh")
programs=$("$VITESS/build.sh")
key=$(recipe_key "$VITESS_VERSION" "$MARIADB"/{image.sh,shared.sh,small.cnf,init_db.sql} "$GROUND/images/mkimage.sh" \
  <(basename -a "$base" "$mariadb" "$programs"))
image=$(cached mariadb-tablet-image "$key" pack "$base" "$mariadb" "$programs")
case ${1:-load} in
  load) "$GROUND/images/load.sh" "$image" ;;
  build) printf '%s\n' "$image" ;;
  *) die "usage: image.sh [build]" ;;
esac
