#!/bin/bash
# gomod.sh 1.37.2: writes go.mod and go.sum for another Kubernetes version (both are committed; run it to move on).
# k8s.io/kubernetes requires its staging modules at v0.0.0 and replaces them by ./staging/... ; a dependency's replace
# lines do not count, and the module's zip has no staging folder. So each is replaced by its published module of the
# same patch version: v1.X.Y goes with v0.X.Y. Its own requirements are taken over as they are, so that `go mod tidy`
# does not move the dependencies away from those Kubernetes was released with.
set -euo pipefail
cd "$(dirname "$0")"
version=${1:?usage: gomod.sh VERSION}
staging=v0.${version#1.}
released=$(cd / && go mod download -json "k8s.io/kubernetes@v$version" | jq -r .GoMod)
{
  printf 'module vitess-backup-operator/ground/kubernetes\n\n'
  grep -m1 '^go ' "$released"
  printf '\nrequire (\n\tk8s.io/kubernetes v%s\n' "$version"
  awk '/^require \(/ {inside = 1; next} /^\)/ {inside = 0} inside && NF {print "\t" $1 " " $2}' "$released" | sed "s/ v0\.0\.0$/ $staging/"
  printf ')\n\nreplace (\n'
  awk -v to="$staging" '/^replace \(/ {inside = 1; next} /^\)/ {inside = 0} inside && /=> \.\/staging/ {print "\t" $1 " => " $1 " " to}' "$released"
  printf ')\n'
} > go.mod
go mod tidy
