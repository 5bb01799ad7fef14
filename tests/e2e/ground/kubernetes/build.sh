#!/bin/bash
# build.sh [measured]: builds the cluster's programs into the cache and prints their folders, one a line:
# Kubernetes (kube, its links by program name, pause) and CoreDNS. Prints at once what is built already.
# measured: only Kubernetes, compiled as its releases are, for what is measured against it.
set -euo pipefail
exec </dev/null
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../env.sh"

# go_program DIR OUT [LDFLAGS]: static, and the same bytes wherever the tree lies. Nice, for it keeps every core busy.
go_program() {
  (cd "$1" && CGO_ENABLED=0 nice go build -buildvcs=false -trimpath "$GO_COMPILER" -ldflags "-s -w ${3:-}" -o "$2" .)
}

build_kubernetes() {
  local version=v$KUBERNETES_VERSION stamp=k8s.io/component-base/version minor name numbers
  minor=${KUBERNETES_VERSION#*.}
  say "building Kubernetes $KUBERNETES_VERSION and etcd" "$2 on 2 idle cores, 20 s when Go's build cache has it"
  mkdir "$1"
  # Clients and the API server compare these numbers; unset, they would claim to be v0.0.0.
  numbers="-X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=${minor%%.*} -X $stamp.gitTreeState=clean"
  go_program "$GROUND/kubernetes" "$1/kube" "$numbers"
  go_program "$GROUND/kubernetes/kubectl" "$1/kubectl" "$numbers"
  go_program "$GROUND/kubernetes/pause" "$1/pause"
  for name in etcd kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubelet; do
    ln -s kube "$1/$name"
  done
  "$1/kubectl" version --client >/dev/null
}

build_coredns() {
  say "building CoreDNS $COREDNS_VERSION" "1 min on 2 idle cores"
  mkdir "$1"
  go_program "$GROUND/kubernetes/coredns" "$1/coredns"
  "$1/coredns" -version >/dev/null
}

COREDNS_VERSION=$(sed -n 's|^require github.com/coredns/coredns v||p' "$GROUND/kubernetes/coredns/go.mod")
export GROUND KUBERNETES_VERSION COREDNS_VERSION GO_COMPILER=$QUICK_GO
if [ "${1:-}" = measured ]; then
  export GO_COMPILER=-gcflags='all=-dwarf=false'
  cached kubernetes-measured "${KUBE_BIN##*/}" build_kubernetes "10 min"
  exit
fi
kubernetes=$(cached kubernetes "${KUBE_BIN##*/}" build_kubernetes "6 min")
coredns=$(cached coredns "$(recipe_key "$COREDNS_VERSION" "$GROUND"/kubernetes/coredns/{go.mod,go.sum,main.go})" build_coredns)
printf '%s\n' "$kubernetes" "$coredns"
