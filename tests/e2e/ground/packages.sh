#!/bin/bash
# packages.sh [PACKAGE...]: the Debian packages that the test ground needs (and those named), installed when missing.
# Says nothing and touches nothing when all are there.
set -euo pipefail
exec </dev/null
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/env.sh"

needed=(
  containerd runc containernetworking-plugins iptables nftables conntrack iproute2   # the node
  mmdebstrap                                                                         # Debian base image
  jq curl procps util-linux                                                          # these scripts
  xfsprogs strace                                                                    # tests on a file system that clones; of fsync
  "$@"
)

missing() {
  local p
  for p in "${needed[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || echo "$p"
  done
}

command -v dpkg-query >/dev/null || die "this machine is not Debian: a local cluster is built from Debian packages; give a KUBECONFIG instead"
command -v go >/dev/null || die "Go is missing: Kubernetes and Vitess are built from their Go modules (go.dev/doc/install)"
[ -n "$(missing)" ] || exit 0
[ "$(id -u)" = 0 ] || die "needs root to install: $(missing | xargs)"

# One apt at a time among our own runs; for others' apt, DPkg::Lock::Timeout and the second try.
mkdir -p "$VBO_CACHE/lock"
exec 9> "$VBO_CACHE/lock/apt"
flock 9
mapfile -t absent < <(missing)
[ ${#absent[@]} -gt 0 ] || exit 0
say "installing Debian packages: ${absent[*]}" "10 to 30 s"

export DEBIAN_FRONTEND=noninteractive
# A machine with an init system would start containerd on itself; ours runs inside the node only.
if [ ! -e /usr/sbin/policy-rc.d ]; then
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
fi
install_absent() { apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${absent[@]}" >/dev/null 9>&-; }
# An index that cannot be fetched (some other source of the machine) is no reason to stop: the install decides.
apt-get -qq update 9>&- || say "apt-get update failed in part; going on"
install_absent || { sleep 15; apt-get -qq update 9>&- || true; install_absent; }
[ -z "$(missing)" ] || die "still missing: $(missing | xargs)"
