#!/bin/bash
# mysql.sh: prints a folder that serves as VT_MYSQL_ROOT on this machine, for any user: Debian sid's mysqld and clients
# with all their libraries, made to run outside sid. Nothing is installed.
# mysql.sh rootfs: prints the folder of a minimal sid root file system with the same mysqld, unchanged, and bash,
# coreutils, procps and etcd: what the tablet image is made of.
# The version is whatever sid has when this first runs; it stays until the cache goes or MYSQL_REFRESH=1 is given.
set -euo pipefail
. "$(dirname "$0")/../env.sh"
. "$(dirname "$0")/shared.sh"

export MYSQL_PACKAGES="mysql-server-core mysql-client-core"
export BASE_PACKAGES="base-files bash dash coreutils procps sed grep tar gzip zstd findutils mawk patchelf"
export LONE_PACKAGES="etcd-server etcd-client"      # static programs, whose dependencies are about starting them as a service

# The Debian mirror that this machine already uses.
mirror() {
  local uris
  uris=$({ grep -rhE '^(URIs:|deb )' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null || true; } |
    grep -oE 'https?://[^ ]+/debian/?( |$)') || die "no Debian mirror in /etc/apt/sources.list*"
  uris=${uris%%$'\n'*}
  printf '%s\n' "${uris% }"
}

# sid_index DIR: an apt of its own in DIR, which knows only sid and believes that nothing is installed.
sid_index() {
  local dir=$1 uri
  mkdir -p "$dir"/{lists/partial,cache/archives/partial,none}
  : > "$dir/status"
  uri=$(mirror)
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s sid main\n' "$uri" > "$dir/sources.list"
  cat > "$dir/apt.conf" <<END
Dir::State::lists "$dir/lists";
Dir::State::status "$dir/status";
Dir::Cache "$dir/cache";
Dir::Etc::sourcelist "$dir/sources.list";
Dir::Etc::sourceparts "$dir/none";
Dir::Etc::preferencesparts "$dir/none";
Debug::NoLocking "1";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
END
  say "reading the package index of Debian sid" "5 s"
  APT_CONFIG=$dir/apt.conf apt-get -qq update >&2
}

unpack() {
  local root=$1 index=$2 deb
  local without=(--exclude='./usr/share/'{doc,man,locale,info,lintian,bug}'/*' --exclude='./usr/lib/*/gconv/*' --exclude='./usr/bin/mysqld_*')
  export APT_CONFIG=$index/apt.conf
  say "downloading mysqld $MYSQL_VERSION of Debian sid with its libraries" "10 s, 95 MB"
  # shellcheck disable=SC2086
  apt-get -qq install -y --no-install-recommends --download-only $MYSQL_PACKAGES $BASE_PACKAGES
  # shellcheck disable=SC2086
  (cd "$index/cache/archives" && apt-get -qq download $LONE_PACKAGES)
  mkdir "$root"
  # base-files comes first: it has the links /bin, /lib and /sbin into /usr.
  for deb in "$index"/cache/archives/{base-files_*,*}.deb; do
    case ${deb##*/} in *perl*) continue ;; esac      # only for scripts that nobody calls here
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" "${without[@]}"
  done
  ln -s mawk "$root/usr/bin/awk"
  touch "$root"      # base-files dates it back by months, and the cache drops what is old
}

# mysqld and the clients get sid's loader and libraries by absolute path, hence the final name of the folder.
patch_for_host() {
  local root=$1 from=$2 final=${1%.part} lib f
  lib=$(cd "$from/usr" && echo lib/*-linux-gnu)
  local loader
  loader=$(cd "$from/usr/$lib" && echo ld-linux-*.so.*)
  mkdir -p "$root"/{bin,sbin,lib/mysql,share}
  cp -a "$from/usr/$lib" "$root/lib/"
  cp -a "$from/usr/lib/mysql/plugin" "$root/lib/mysql/"
  cp -a "$from/usr/share/mysql" "$root/share/"
  cp "$from/usr/sbin/mysqld" "$root/sbin/"
  cp "$from"/usr/bin/{mysql,mysqladmin,mysqlbinlog,mysqldump,mysqlcheck,innochecksum,ibd2sdi} "$root/bin/"
  for f in "$root"/sbin/mysqld "$root"/bin/*; do
    "$from/usr/$lib/$loader" --library-path "$from/usr/$lib" "$from/usr/bin/patchelf" \
      --set-interpreter "$final/$lib/$loader" --force-rpath --set-rpath "$final/$lib" "$f"
  done
  chmod -R a+rX "$root"
}

recipe=$(recipe_key x "$VITESS/mysql.sh")
recipe=${recipe#x-}
key=
if [ -z "${MYSQL_REFRESH:-}" ]; then
  key=$(find "$VBO_CACHE/built/mysql-rootfs" -mindepth 1 -maxdepth 1 -name "*-$recipe" -printf '%f\n' 2>/dev/null | sort -V | tail -1) || true
fi
if [ -z "$key" ]; then
  mkdir -p "$VBO_CACHE"
  index=$(mktemp -d "$VBO_CACHE/sid.XXXXXX")
  trap 'rm -rf "$index"' EXIT
  sid_index "$index"
  MYSQL_VERSION=$(APT_CONFIG=$index/apt.conf apt-cache policy mysql-server-core | sed -n 's/^ *Candidate: *//p')
  [[ $MYSQL_VERSION == [0-9]* ]] || die "Debian sid has no mysql-server-core"
  [[ $MYSQL_VERSION == 9.7.* ]] || say "note: Debian sid has moved on to mysqld $MYSQL_VERSION; Vitess $VITESS_VERSION was tried with 9.7"
  export MYSQL_VERSION
  key=$MYSQL_VERSION-$recipe
  cached mysql-rootfs "$key" unpack "$index" >/dev/null
fi
rootfs=$(cached mysql-rootfs "$key" false)

case ${1:-host} in
  rootfs) printf '%s\n' "$rootfs" ;;
  host)
    reachable "$VBO_CACHE" || VBO_CACHE=$REACHABLE_CACHE
    export VBO_CACHE
    cached mysql-host "$key" patch_for_host "$rootfs" ;;
  *) die "usage: mysql.sh [host|rootfs]" ;;
esac
