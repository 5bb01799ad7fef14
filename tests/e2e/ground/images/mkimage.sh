#!/bin/bash
# mkimage.sh REF ROOTFS_DIR OUT.tar [ENTRYPOINT...]: a container image (docker-archive) from a root folder, without a
# daemon. The same folder gives the same bytes. From the environment, all optional:
#   IMAGE_CMD      JSON array                      IMAGE_USER    as in USER: 1000 or 1000:1000
#   IMAGE_ENV      K=V, one a line (PATH is set)   IMAGE_LABELS  K=V, one a line
#   IMAGE_WORKDIR  default /
# Owners are kept when root runs this, else everything belongs to root. Format: the "docker save" archive of the
# Docker image specification v1.2 (moby/docker-image-spec).
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: mkimage.sh REF ROOTFS_DIR OUT.tar [ENTRYPOINT...]" >&2; exit 2; }
ref=$1 root=$2 out=$(realpath -m "$3")
shift 3

work=$(mktemp -d "${out%/*}/.mkimage.XXXXXX")
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2054 # one option that has commas in it
same=(--sort=name --mtime=@0 --numeric-owner --format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime)
owner=()
[ "$(id -u)" = 0 ] || owner=(--owner=0 --group=0)

# Hashed while it is written: a tablet's layer is some hundred megabytes.
layer=$(tar "${same[@]}" "${owner[@]}" -C "$root" -cf - . | tee "$work/layer.tar" | sha256sum | cut -d' ' -f1)

# shellcheck disable=SC2016
jq -nc --arg layer "sha256:$layer" --arg env "${IMAGE_ENV:-}" --arg labels "${IMAGE_LABELS:-}" \
  --arg user "${IMAGE_USER:-}" --arg workdir "${IMAGE_WORKDIR:-/}" --argjson cmd "${IMAGE_CMD:-null}" \
  --arg arch "$(case $(uname -m) in aarch64) echo arm64 ;; *) echo amd64 ;; esac)" '
  def lines: split("\n") | map(select(. != ""));
  {architecture: $arch, os: "linux", created: "1970-01-01T00:00:00Z",
   config: ({
     Env: ((if ($env | lines | any(startswith("PATH="))) then [] else ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] end) + ($env | lines)),
     WorkingDir: $workdir}
     + (if $ARGS.positional == [] then {} else {Entrypoint: $ARGS.positional} end)
     + (if $cmd == null then {} else {Cmd: $cmd} end)
     + (if $user == "" then {} else {User: $user} end)
     + (if $labels == "" then {} else {Labels: ($labels | lines | map(capture("^(?<key>[^=]+)=(?<value>.*)$")) | from_entries)} end)),
   rootfs: {type: "layers", diff_ids: [$layer]},
   history: [{created: "1970-01-01T00:00:00Z", created_by: "mkimage.sh"}]}' --args -- "$@" > "$work/config.json"
jq -nc --arg ref "$ref" '[{Config: "config.json", RepoTags: [$ref], Layers: ["layer.tar"]}]' > "$work/manifest.json"

# The two small members first: load.sh reads them without going through the layer.
tar "${same[@]}" --owner=0 --group=0 -C "$work" -cf "$work/image.tar" manifest.json config.json layer.tar
mv -f "$work/image.tar" "$out"
