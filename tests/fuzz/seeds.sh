#!/bin/bash
# seeds.sh FOLDER: makes the seed corpus there, a folder for each target: the MANIFESTs of tests/fixtures, and the names and
# positions in them, each a file.
set -euo pipefail
fixtures=$(dirname "$(readlink -f "$0")")/../fixtures
out=$1
mkdir -p "$out"/{manifest,name,position}
cp "$fixtures"/vitess/MANIFEST.*.json "$fixtures"/eras/*.json "$out/manifest/"
# each FOLDER: every line of stdin becomes a file there
each() {
  local line number=0
  while IFS= read -r line; do
    number=$((number + 1))
    printf '%b' "$line" >"$1/$number"
  done
}
fields() { grep -hoE "\"($1)\": \"[^\"]+\"" "$out"/manifest/* | sed 's/.*": "//; s/"$//' | sort -u; }
{ fields 'BackupName|TabletAlias|BackupTime'; sed 's/#.*//; /^$/d' "$fixtures/names.txt"; } | each "$out/name"
{ fields 'Position|PurgedPosition|FromPosition'; sed 's/#.*//; /^$/d' "$fixtures/positions.txt"; } | each "$out/position"
