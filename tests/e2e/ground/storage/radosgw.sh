#!/bin/bash
# radosgw.sh: Ceph's object gateway on a Ceph of one monitor and one OSD, all of this machine's Debian packages, unpacked
# and not installed.
#   radosgw.sh build           prints the folder with the programs, made when it is not in the cache
#   radosgw.sh run DIR PORT    the gateway on 127.0.0.1:PORT with everything in DIR, in the foreground; ends with its process
#   radosgw.sh user DIR NAME   a user with buckets of its own (a tenant); access key NAME, secret key `testsecret`
# One copy of everything, and no manager: it must work, and need not last.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../env.sh"

export CEPH_PACKAGES="radosgw ceph-mon ceph-osd ceph-base ceph-common"
LIBRARIES=usr/lib/$(uname -m)-linux-gnu

unpack() {
  local needed
  # What this machine lacks of their dependencies, but for programs that only packages' scripts call.
  # shellcheck disable=SC2086
  needed=$(apt-get -s --no-install-recommends install $CEPH_PACKAGES | awk '$1 == "Inst" {print $2}' | grep -E '^(lib|python3-)' || true)
  mkdir -p "$1/debs" "$1/root"
  say "downloading Ceph $CEPH_VERSION and its libraries" "20 s, 80 MB"
  # shellcheck disable=SC2086
  (cd "$1/debs" && apt-get -qq -o APT::Sandbox::User=root download $CEPH_PACKAGES $needed)
  local deb
  for deb in "$1"/debs/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$1/root" --keep-directory-symlink --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*'
  done
  rm -r "$1/debs"
}

build() {
  CEPH_VERSION=$(apt-cache policy radosgw | sed -n 's/^ *Candidate: *//p')
  if [[ $CEPH_VERSION != [0-9]* ]]; then
    say "reading the package index" "5 s"
    apt-get -qq update >&2
    CEPH_VERSION=$(apt-cache policy radosgw | sed -n 's/^ *Candidate: *//p')
  fi
  [[ $CEPH_VERSION == [0-9]* ]] || die "this machine's Debian has no radosgw"
  export CEPH_VERSION
  cached ceph "$(recipe_key "${CEPH_VERSION//[:+]/_}" "$GROUND/storage/radosgw.sh")" unpack
}

# use DIR: the programs in the PATH, with the configuration in DIR.
use() {
  local built
  built=$(build)
  ROOT=$built/root
  export LD_LIBRARY_PATH=$ROOT/$LIBRARIES:$ROOT/${LIBRARIES#usr/}:$ROOT/$LIBRARIES/ceph:$ROOT/usr/lib/ceph
  export PYTHONPATH=$ROOT/usr/lib/python3/dist-packages
  export PATH=$ROOT/usr/bin:$ROOT/usr/sbin:$PATH
  export CEPH_CONF=$1/ceph.conf
}

free_port() {
  local port
  for port in $(shuf -i 20000-29999 -n 50); do
    # Nobody answers there.
    (exec 3<> "/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
  die "no port is free"
}

configure() {
  local dir=$1 port=$2
  cat > "$dir/ceph.conf" <<CONF
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon initial members = a
mon host = [v2:127.0.0.1:$(free_port)]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = $dir/keyring
run dir = $dir
admin socket = $dir/\$name.asok
log file = $dir/log/\$name.log
mon cluster log file = $dir/log/cluster.log
log to stderr = false
err to stderr = true
plugin dir = $ROOT/$LIBRARIES/ceph
erasure code dir = $ROOT/$LIBRARIES/ceph/erasure-code
osd class dir = $ROOT/$LIBRARIES/rados-classes
mon allow pool size one = true
mon data avail crit = 1
mon data avail warn = 2
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd memory target = 939524096
bluestore block size = 17179869184
bluestore block db create = false
bluestore block wal create = false
[mon.a]
mon data = $dir/mon
[osd.0]
osd data = $dir/osd
osd objectstore = bluestore
[client.radosgw]
rgw data = $dir/rgw
rgw frontends = beast endpoint=127.0.0.1:$port
rgw enable usage log = false
rgw enable ops log = false
rgw crypt require ssl = false
CONF
}

# A daemon of this process: gone with it, however that ends.
daemon() { setpriv --pdeathsig KILL "$@" >> "$DIR/log/output" 2>&1 & }

run() {
  export DIR=$1
  local port=$2 uuid name
  mkdir -p "$DIR"/{log,mon,osd,rgw}
  use "$DIR"
  configure "$DIR" "$port"
  say "starting Ceph in $DIR" "20 s"
  # One keyring for all, which the monitor takes over.
  ceph-authtool --create-keyring "$DIR/keyring" --gen-key -n mon. --cap mon 'allow *' > /dev/null
  for name in client.admin client.radosgw osd.0; do
    ceph-authtool "$DIR/keyring" --gen-key -n "$name" --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' > /dev/null
  done
  monmaptool --create --clobber --fsid "$(sed -n 's/^fsid = //p' "$CEPH_CONF")" \
    --addv a "$(sed -n 's/^mon host = //p' "$CEPH_CONF")" "$DIR/monmap" > /dev/null
  ceph-mon --mkfs -i a --monmap "$DIR/monmap" --keyring "$DIR/keyring" >> "$DIR/log/output" 2>&1
  daemon ceph-mon -i a -f
  await 60 "the monitor" timeout 5 ceph -s
  uuid=$(cat /proc/sys/kernel/random/uuid)
  ceph osd new "$uuid" 0 > /dev/null
  ceph-osd -i 0 --mkfs --osd-uuid "$uuid" >> "$DIR/log/output" 2>&1
  daemon ceph-osd -i 0 -f
  await 60 "the OSD" osd_is_up
  exec radosgw -n client.radosgw -f >> "$DIR/log/output" 2>&1
}

osd_is_up() { timeout 5 ceph osd stat --format json | grep -q '"num_up_osds":1'; }

user() {
  use "$1"
  # Two at once may meet while the pools are made.
  await 120 "the user $2" radosgw-admin user create --tenant "$2" --uid "$2" --display-name "$2" --access-key "$2" --secret-key testsecret
}

case ${1:-} in
  build) build ;;
  run) run "${2:?a directory}" "${3:?a port}" ;;
  user) user "${2:?a directory}" "${3:?a name}" ;;
  *) die "usage: radosgw.sh build | run DIR PORT | user DIR NAME" ;;
esac
