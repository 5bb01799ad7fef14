#!/bin/bash
# image.sh zookeeper|consul: an image with that topology server, built when it is not there, and loaded into the cluster:
#   localhost/vbo-zookeeper:3.9   Debian 12 with its Java and the jars of ZooKeeper 3.9 in /opt/zookeeper
#   localhost/vbo-consul:1.14     the program alone
# image.sh zookeeper|consul build: only builds it, and prints the path of the archive.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../env.sh"
export GROUND

zookeeper() {
  local out=$1 base=$2 jars=$3 root=$1.root jre
  say "packing the image localhost/vbo-zookeeper:3.9" "20 s, 300 MB"
  rm -rf "$root" "$out.debs"
  cp -a "$base" "$root"
  mkdir -p "$out.debs" "$root/opt"
  cp -a "$jars" "$root/opt/zookeeper"
  # Of what Java depends on, a server needs nothing but what Debian's base has.
  jre=$(apt-cache depends default-jre-headless | sed -n 's/^ *Depends: \(openjdk-[0-9]*-jre-headless\)$/\1/p')
  (cd "$out.debs" && apt-get -qq -o APT::Sandbox::User=root download "$jre")
  dpkg-deb --fsys-tarfile "$out.debs"/*.deb | tar -x -C "$root" --keep-directory-symlink --exclude='./usr/share/'{doc,man}'/*'
  rm -r "$out.debs"
  ln -s "../lib/jvm/$(basename "$root"/usr/lib/jvm/java-[0-9][0-9]-*)/bin/java" "$root/usr/bin/java"
  # It finds its libraries by /proc, which is not there yet.
  chroot "$root" env LD_LIBRARY_PATH="/$(cd "$root" && echo usr/lib/jvm/java-[0-9][0-9]-*/lib)" java -version 2>/dev/null ||
    die "Java does not run in Debian 12: is this machine's Debian another one?"
  IMAGE_USER=1000:1000 "$GROUND/images/mkimage.sh" localhost/vbo-zookeeper:3.9 "$root" "$out"
  rm -rf "$root"
}

consul() {
  local out=$1 program=$2 root=$1.root
  say "packing the image localhost/vbo-consul:1.14" "5 s, 100 MB"
  rm -rf "$root"
  mkdir -p "$root/bin"
  # Where it puts a snapshot together.
  mkdir -m 1777 "$root/tmp"
  cp "$program" "$root/bin/consul"
  IMAGE_USER=1000:1000 "$GROUND/images/mkimage.sh" localhost/vbo-consul:1.14 "$root" "$out"
  rm -rf "$root"
}

recipe=("$GROUND"/{topology/image,images/mkimage}.sh)
case ${1:-} in
  zookeeper)
    base=$("$GROUND/images/base.sh")
    jars=$("$GROUND/topology/build.sh" zookeeper39)
    image=$(cached zookeeper-image "$(recipe_key 3.9 "${recipe[@]}" <(basename -a "$base" "$jars"))" zookeeper "$base" "$jars") ;;
  consul)
    program=$("$GROUND/topology/build.sh" consul)
    image=$(cached consul-image "$(recipe_key 1.14 "${recipe[@]}" <(basename "$program"))" consul "$program") ;;
  *) die "usage: image.sh zookeeper|consul [build]" ;;
esac
case ${2:-load} in
  load) "$GROUND/images/load.sh" "$image" ;;
  build) printf '%s\n' "$image" ;;
  *) die "usage: image.sh zookeeper|consul [build]" ;;
esac
