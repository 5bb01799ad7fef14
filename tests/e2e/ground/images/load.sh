#!/bin/bash
# load.sh IMAGE.tar...: make images of ours available to the cluster's pods.
# Local cluster: imported into the node's containerd, unless this very image is there under this name already.
# A cluster that was given: pushed to VBO_REGISTRY (with skopeo or a docker daemon). Pods name it by `image_ref NAME:TAG`.
set -euo pipefail
exec </dev/null
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../env.sh"
[ $# -gt 0 ] || { echo "usage: load.sh IMAGE.tar..." >&2; exit 2; }

member() { tar --occurrence=1 -xOf "$1" "$2"; }

# target REF: the digest that containerd has this name pointing at, or nothing.
target() { in_node ctr -n k8s.io images ls "name==$1" | awk 'NR == 2 {print $3}'; }

# containerd's CRI plugin keeps a second name, sha256:<hash of the config>, for every image; both names pointing at the
# same thing means that the image in this file is the one that pods get.
import() {
  local tar=$1 ref=$2 id have
  id=sha256:$(member "$tar" "$(member "$tar" manifest.json | jq -r '.[0].Config')" | sha256sum | cut -d' ' -f1)
  have=$(target "$ref")
  if [ -n "$have" ] && [ "$have" = "$(target "$id")" ]; then return; fi
  say "importing $ref, $(du -h "$tar" | cut -f1)" "2 to 3 s per 100 MB"
  # containerd 1.6 gives that second name to a new image only, not to a name that moves to another one.
  [ -z "$have" ] || in_node ctr -n k8s.io images rm --sync "$ref" >/dev/null
  in_node ctr -n k8s.io images import - < "$tar" >/dev/null
  for _ in $(seq 50); do
    have=$(target "$ref")
    if [ -n "$have" ] && [ "$have" = "$(target "$id")" ]; then return; fi
    sleep 0.1
  done
  die "$ref was imported but containerd does not list it as $id"
}

push() {
  local tar=$1 ref=$2
  if command -v skopeo >/dev/null; then
    say "pushing $ref with skopeo"
    skopeo copy --quiet "docker-archive:$tar" "docker://$ref"
  elif command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    say "pushing $ref with docker"
    docker load --quiet --input "$tar" >/dev/null
    docker tag "localhost/${ref#"${VBO_REGISTRY%/}"/}" "$ref"
    docker push --quiet "$ref" >/dev/null
  else
    die "pushing to $VBO_REGISTRY needs skopeo (apt-get install skopeo) or a running docker daemon; neither is here"
  fi
}

for tar; do
  ref=$(member "$tar" manifest.json | jq -r '.[0].RepoTags[0]')
  if [ -z "$KUBECONFIG_GIVEN" ]; then
    import "$tar" "$ref"
  else
    ref=$(image_ref "${ref#localhost/}")
    push "$tar" "$ref"
  fi
done
