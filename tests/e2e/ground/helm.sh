#!/bin/bash
# helm.sh ARG...: runs Helm with these arguments, after building it from its Go module when it is not in the cache.
# helm.sh without arguments prints the program's path. Helm's own files (plugins, repositories, cache) are kept apart
# from the user's, so that neither can change what the tests see.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/env.sh"

# Its go.mod asks for the versions that the Kubernetes build next door has of what the two share, so that most of it is in
# Go's build cache already.
HELM_VERSION=$(sed -n 's|^\thelm.sh/helm/v4 v\([^ ]*\).*|\1|p' "$GROUND/helm/go.mod")
export GROUND HELM_VERSION

build_helm() {
  say "building Helm $HELM_VERSION" "30 s after Kubernetes, 3 min before it"
  (cd "$GROUND/helm" && CGO_ENABLED=0 nice go build -mod=readonly -buildvcs=false -trimpath "$QUICK_GO" \
    -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=v$HELM_VERSION" -o "$1" helm.sh/helm/v4/cmd/helm)
  "$1" version --short
}

helm=$(cached helm "$(recipe_key "$HELM_VERSION" "$GROUND"/helm/go.{mod,sum} "$GROUND/helm.sh")" build_helm)
if [ $# -eq 0 ]; then printf '%s\n' "$helm"; exit 0; fi
export HELM_CACHE_HOME=$VBO_CACHE/helm/cache HELM_CONFIG_HOME=$VBO_CACHE/helm/config HELM_DATA_HOME=$VBO_CACHE/helm/data
exec "$helm" "$@"
