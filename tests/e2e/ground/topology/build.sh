#!/bin/bash
# build.sh SERVER: prints where a topology server that tests start is, and makes it first when it is not in the cache:
#   etcd         the folder of etcd and etcdutl (those of the tablet image: Debian sid's)
#   zookeeper39  a folder of jars: ZooKeeper 3.9 from its Maven packages, with what its admin server needs
#   zookeeper38  a folder of jars: Debian's ZooKeeper 3.8, unpacked and not installed
#   consul       the program: Consul 1.14 from its Go module
# Consul 1.17 and later have another licence, and cannot be had from Go modules: the main module of 1.22 requires
# github.com/hashicorp/consul/troubleshoot v0.8.0 and …/envoyextensions v0.9.0 and replaces both by folders that module archives do
# not have (they are modules of their own), and the module proxy serves neither (404 from the checksum database for the one, no
# such version for the other). 1.14 is the last without them. So 1.22 is not tested.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../env.sh"
export TOPOLOGY=$GROUND/topology

# Server, HTTP API and snapshots are Consul's own code. Two thirds of what it would build are left out: the clients of clouds (by
# which servers find each other, and people log in), and the types of every extension that Envoy has.
consul() {
  local work=$1.work vendored=vendor/github.com/hashicorp/consul
  say "building Consul $CONSUL_VERSION from its Go module" "1.5 min on 2 cores"
  rm -rf "$work"
  cp -r "$TOPOLOGY/consul" "$work"
  cd "$work"
  go mod vendor
  rm "$vendored/agent/xds/z_xds_packages.go"
  sed -i '/_ ".*\/authmethod\/\(kubeauth\|awsauth\)"$/d' "$vendored/agent/consul/acl_authmethod.go"
  CGO_ENABLED=0 nice go build -mod=vendor -trimpath -buildvcs=false "$QUICK_GO" -ldflags '-s -w' -o "$1" .
  rm -rf "$work"
}

zookeeper39() {
  { command -v java && command -v mvn; } >/dev/null || "$GROUND/packages.sh" default-jre-headless maven
  say "downloading ZooKeeper 3.9 from its Maven packages" "20 s"
  mvn -q -B -f "$TOPOLOGY/zookeeper/pom.xml" dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$1" >&2
}

# The jars that a server loads, of the packages that have them.
export ZOOKEEPER_PACKAGES="libzookeeper-java libslf4j-java libnetty-java libsnappy-java libdropwizard-metrics-java
  libcommons-cli-java libcommons-io-java liblog4j1.2-java libjackson2-core-java libjackson2-databind-java
  libjackson2-annotations-java libjetty9-java libservlet-api-java libsnappy-jni"

zookeeper38() {
  command -v java >/dev/null || "$GROUND/packages.sh" default-jre-headless
  say "downloading ZooKeeper 3.8 from Debian" "10 s"
  local deb
  mkdir -p "$1"/{root,debs}
  # shellcheck disable=SC2086
  (cd "$1/debs" && apt-get -qq -o APT::Sandbox::User=root download $ZOOKEEPER_PACKAGES)
  for deb in "$1"/debs/*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$1/root"; done
  # Links among the jars stay right: all are in this one folder.
  cp -d "$1"/root/usr/share/java/*.jar "$1/"
  rm -r "$1/debs" "$1/root"
}

server=${1:-}
recipe=("$TOPOLOGY/build.sh")
case $server in
  etcd)
    found=$("$GROUND/vitess/mysql.sh" rootfs)
    printf '%s\n' "$found/usr/bin" ;;
  consul)
    CONSUL_VERSION=$(sed -n 's|^[[:space:]]*github.com/hashicorp/consul v\([^ ]*\).*|\1|p' "$TOPOLOGY/consul/go.mod")
    export CONSUL_VERSION
    mapfile -t parts < <(find "$TOPOLOGY/consul" -type f | sort)
    cached consul "$(recipe_key "$CONSUL_VERSION" "${parts[@]}" "${recipe[@]}")" consul ;;
  zookeeper39) cached zookeeper39 "$(recipe_key x "$TOPOLOGY/zookeeper/pom.xml" "${recipe[@]}")" zookeeper39 ;;
  zookeeper38) cached zookeeper38 "$(recipe_key x "${recipe[@]}")" zookeeper38 ;;
  *) die "usage: build.sh etcd|zookeeper39|zookeeper38|consul" ;;
esac
