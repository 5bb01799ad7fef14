#!/bin/bash
# build.sh: prints a folder, which every user of this machine can reach, with Debian's MariaDB server and mariabackup,
# unpacked and not installed:
#   sbin/mysqld, bin/mariadb, bin/mysqladmin, bin/mariadb-upgrade (so that it serves as VT_MYSQL_ROOT), bin/mariadb-install-db
#   xtrabackup/  mariabackup and mbstream under the names of Percona's programs
# No XtraBackup of Percona's is in Debian; mariabackup is a fork of it that takes the arguments which Vitess passes.
set -euo pipefail
. "$(dirname "$0")/../env.sh"
# shellcheck source-path=SCRIPTDIR
. "$GROUND/vitess/shared.sh"

export MARIADB_PACKAGES="mariadb-server-core mariadb-server mariadb-client-core mariadb-client mariadb-backup libmariadb3 libaio1 liburing2"

# wrap PROGRAM AS: a script that starts it with its own libraries. The final folder is where the .part is renamed to.
wrap() {
  # shellcheck disable=SC2016
  printf '#!/bin/sh\nLD_LIBRARY_PATH=%s/root/usr/lib/%s-linux-gnu exec %s/root/usr/%s "$@"\n' "$FINAL" "$(uname -m)" "$FINAL" "$1" > "$OUT/$2"
  chmod 755 "$OUT/$2"
}

unpack() {
  export OUT=$1 FINAL=${1%.part}
  local deb
  mkdir -p "$OUT"/{root,debs,bin,sbin,xtrabackup}
  say "downloading MariaDB $MARIADB_VERSION and mariabackup" "10 s, 20 MB"
  # shellcheck disable=SC2086
  (cd "$OUT/debs" && apt-get -qq -o APT::Sandbox::User=root download $MARIADB_PACKAGES)
  for deb in "$OUT"/debs/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$OUT/root" --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*'
  done
  rm -r "$OUT/debs"
  wrap sbin/mariadbd sbin/mysqld
  wrap bin/mariadb bin/mariadb
  wrap bin/mariadb-admin bin/mysqladmin
  wrap bin/mariadb-upgrade bin/mariadb-upgrade
  wrap bin/mariadb-install-db bin/mariadb-install-db
  wrap bin/mariabackup xtrabackup/xtrabackup
  wrap bin/mbstream xtrabackup/xbstream
  chmod -R a+rX "$OUT"
}

MARIADB_VERSION=$(apt-cache policy mariadb-backup | sed -n 's/^ *Candidate: *//p')
if [[ $MARIADB_VERSION != [0-9]* ]]; then
  say "reading the package index" "5 s"
  apt-get -qq update >&2
  MARIADB_VERSION=$(apt-cache policy mariadb-backup | sed -n 's/^ *Candidate: *//p')
fi
[[ $MARIADB_VERSION == [0-9]* ]] || die "this machine's Debian has no mariadb-backup"
export MARIADB_VERSION
reachable "$VBO_CACHE" || VBO_CACHE=$REACHABLE_CACHE
export VBO_CACHE
cached mariadb "$(recipe_key "${MARIADB_VERSION//:/_}" "$GROUND/mariadb/build.sh")" unpack
