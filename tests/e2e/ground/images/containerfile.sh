#!/bin/bash
# containerfile.sh CONTEXT_DIR OUT.tar [REF]: builds CONTEXT_DIR/Containerfile into an image archive without Docker.
# It understands what our own Containerfile says, and refuses everything else instead of guessing:
#   FROM scratch                    COPY SRC... DST (no flags, no wildcards; a folder's contents are copied, as Docker does)
#   ENTRYPOINT ["a", "b"]           USER 1000 or 1000:1000
#   ENV K=V...   LABEL K=V...       (values may be in double quotes; no variables)
# Comments, empty lines and a `\` at the end of a line are as in Docker. CONTAINERFILE names another file than
# CONTEXT_DIR/Containerfile. REF defaults to localhost/vitess-backup-operator:dev.
# Nothing is done when OUT.tar was made from the same files (path, size and time) before.
set -euo pipefail
exec </dev/null
[ $# -ge 2 ] || { echo "usage: containerfile.sh CONTEXT_DIR OUT.tar [REF]" >&2; exit 2; }
context=$(realpath "$1") out=$(realpath -m "$2") ref=${3:-localhost/vitess-backup-operator:dev}
file=$(realpath "${CONTAINERFILE:-$context/Containerfile}")
here=$(cd "$(dirname "$0")" && pwd)
line_number=0

refuse() { echo "$file:$line_number: $*" >&2; exit 1; }

# What the file says: copies holds alternating lists, one string per COPY: its words separated by newlines.
copies=() entrypoint='' user='' env='' labels='' from=''

# words TEXT: one word a line; double quotes group and are taken off. Refuses what would need a shell or a variable.
words() {
  local text=$1 word
  local part='("[^"]*"|[^"[:space:]])+'
  [[ $text != *[\$\`\'\\]* ]] || refuse "variables, single quotes and backslashes are not understood: $text"
  while [[ $text =~ ^[[:space:]]*($part)([[:space:]].*)?$ ]]; do
    word=${BASH_REMATCH[1]} text=${BASH_REMATCH[3]:-}
    printf '%s\n' "${word//\"/}"
  done
  [[ $text =~ ^[[:space:]]*$ ]] || refuse "cannot split into words: $text"
}

assignments() {
  local word all
  all=$(words "$1")
  while IFS= read -r word; do
    [[ $word =~ ^[A-Za-z_][A-Za-z0-9_.-]*= ]] || refuse "K=V is expected, not: $word"
  done <<< "$all"
  printf '%s\n' "$all"
}

# source_of WORD: the path in the context; as in Docker nothing outside it can be copied.
source_of() {
  local path
  [[ $1 != *[*?[]* ]] || refuse "wildcards are not understood: $1"
  path=$(realpath -e "$context/$1" 2>/dev/null) || refuse "no $1 in $context"
  [[ $path == "$context" || $path == "$context"/* ]] || refuse "$1 lies outside $context"
  printf '%s\n' "$path"
}

instruction() {
  local name=${1%%[[:space:]]*} rest='' all word
  [[ $1 == "$name" ]] || rest=${1#*[[:space:]]}
  name=${name^^}
  [ -n "$from" ] || [ "$name" = FROM ] || refuse "the first instruction must be FROM scratch, not $name"
  case $name in
    FROM)
      [ -z "$from" ] || refuse "a second FROM is not understood"
      [ "$(words "$rest")" = scratch ] || refuse "only FROM scratch is understood, not: FROM $rest"
      from=scratch ;;
    COPY)
      [[ $rest != \[* && $rest != --* ]] || refuse "flags and the JSON form of COPY are not understood: $rest"
      all=$(words "$rest")
      [ "$(wc -l <<< "$all")" -ge 2 ] || refuse "COPY needs a source and a destination: $rest"
      while IFS= read -r word; do source_of "$word" >/dev/null; done < <(head -n -1 <<< "$all")
      copies+=("$all") ;;
    ENTRYPOINT)
      entrypoint=$(jq -ec 'if type == "array" and all(type == "string") and . != [] then . else error end' <<< "$rest" 2>/dev/null) ||
        refuse "ENTRYPOINT is understood as a JSON array of strings only: $rest" ;;
    USER)
      [[ $rest =~ ^[[:space:]]*([0-9]+(:[0-9]+)?)[[:space:]]*$ ]] || refuse "USER must be a number or number:number, not: $rest"
      user=${BASH_REMATCH[1]} ;;
    ENV) all=$(assignments "$rest"); env+=$all$'\n' ;;
    LABEL) all=$(assignments "$rest"); labels+=$all$'\n' ;;
    *) refuse "the instruction $name is not understood; here are FROM scratch, COPY, ENTRYPOINT, USER, ENV and LABEL" ;;
  esac
}

parse() {
  local line joined=''
  while IFS= read -r line || [ -n "$line" ]; do
    line_number=$((line_number + 1))
    [[ ! $line =~ ^[[:space:]]*(#.*)?$ ]] || continue
    line=${line#"${line%%[![:space:]]*}"}
    if [[ $line =~ ^(.*)\\[[:space:]]*$ ]]; then joined+=${BASH_REMATCH[1]}; continue; fi
    instruction "$joined$line"
    joined=''
  done < "$file"
  [ -z "$joined" ] || refuse "the file ends in the middle of an instruction"
  [ -n "$from" ] || refuse "there is no FROM scratch"
  [ -n "$entrypoint" ] || refuse "there is no ENTRYPOINT: a pod could not start it without a command"
}

# inputs: what OUT.tar depends on; make's notion of unchanged, for the binary is large.
inputs() {
  local copy word path
  printf '%s\n' "$ref"
  cat "$file" "$0" "$here/mkimage.sh" | sha256sum
  for copy in "${copies[@]}"; do
    while IFS= read -r word; do
      path=$(source_of "$word")
      find "$path" -printf '%P %y %m %s %T@ %i %l\n' | sort
    done < <(head -n -1 <<< "$copy")
  done
}

# put COPY ROOT: one COPY into the root folder, with Docker's rules for the destination.
put() {
  local copy=$1 root=$2 dst word path many=
  dst=$(tail -n 1 <<< "$copy")
  [ "$(wc -l <<< "$copy")" -le 2 ] || many=1
  [ -z "$many" ] || [[ $dst == */ ]] || refuse "with several sources the destination of COPY must end in /: $dst"
  [[ /$dst/ != */../* ]] || refuse "the destination of COPY may not have ..: $dst"
  while IFS= read -r word; do
    path=$(source_of "$word")
    if [ -d "$path" ]; then
      mkdir -p "$root/$dst"
      cp -r --preserve=mode,links "$path/." "$root/$dst/"
    elif [[ $dst == */ || $dst == . || -d $root/$dst ]]; then
      mkdir -p "$root/$dst"
      cp --preserve=mode "$path" "$root/$dst/${word##*/}"
    else
      mkdir -p "$(dirname "$root/$dst")"
      cp --preserve=mode "$path" "$root/$dst"
    fi
  done < <(head -n -1 <<< "$copy")
}

parse
now=$(inputs)
if [ -e "$out" ] && [ "$(cat "$out.inputs" 2>/dev/null)" = "$now" ]; then exit 0; fi

printf '%s packing %s from %s\n' "$(date +%T)" "$ref" "${file##*/}" >&2
mkdir -p "${out%/*}"
root=$(mktemp -d "${out%/*}/.containerfile.XXXXXX")
trap 'rm -rf "$root"' EXIT
umask 022
chmod 755 "$root"
for copy in "${copies[@]}"; do put "$copy" "$root"; done
mapfile -t command < <(jq -r '.[]' <<< "$entrypoint")
rm -f "$out.inputs"
IMAGE_USER=$user IMAGE_ENV=$env IMAGE_LABELS=$labels "$here/mkimage.sh" "$ref" "$root" "$out" "${command[@]}"
printf '%s\n' "$now" > "$out.inputs"
