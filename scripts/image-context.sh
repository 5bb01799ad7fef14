#!/bin/bash
# image-context.sh DIR BINARY: makes DIR the build context of the Containerfile: the static binary and the CA roots.
set -euo pipefail
dir=$1 binary=$2
cd "$(dirname "$0")/.."

die() { printf 'image-context: %s\n' "$*" >&2; exit 1; }

# A dynamic one would start here and fail in the empty image, with a message that says nothing ("no such file").
if readelf --program-headers --wide "$binary" | grep -q INTERP; then
  die "$binary is not static; build it with make build"
fi

mkdir -p "$dir"
# Mozilla's own roots as Debian ships them, not /etc/ssl/certs: roots that were added to this machine alone must not travel.
roots=/usr/share/ca-certificates/mozilla
[ -d "$roots" ] || die "no $roots: apt-get install ca-certificates"
cat "$roots"/*.crt > "$dir/ca-certificates.crt.part"
cmp --silent "$dir/ca-certificates.crt.part" "$dir/ca-certificates.crt" || cp "$dir/ca-certificates.crt.part" "$dir/ca-certificates.crt"
rm "$dir/ca-certificates.crt.part"
# Copied only when changed: what is packed from here is packed again when a time changes.
cmp --silent "$binary" "$dir/vitess-backup" || install -m 755 "$binary" "$dir/vitess-backup"
install -m 644 --compare Containerfile "$dir/Containerfile"
