#!/bin/bash
# selftest.sh: tests of the test ground's own shell that need no cluster and no root (a few seconds): the cache survives
# interruption and company, images come out the same twice, and containerfile.sh does what Docker would or refuses.
set -euo pipefail
exec </dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export VBO_CACHE=$work/cache
unset KUBECONFIG VBO_KUBECONFIG
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/env.sh"
export work

holds() { say "holds: $1"; }
# is WHAT EXPECTED ACTUAL
is() { [ "$2" = "$3" ] || die "$1: expected '$2', got '$3'"; }

# --- cached -------------------------------------------------------------------------------------------------------

counted() { echo built >> "$work/builds"; echo content > "$1"; }
slow() { echo begun >> "$work/slow"; mkdir "$1"; touch "$1/half"; sleep "$2"; touch "$1/whole"; }
broken() { echo half > "$1"; false; echo "went on after a failure" > "$work/went-on"; }

test_cached() {
  local path status=0
  path=$(cached thing 1 counted)
  is "what was built" content "$(cat "$path")"
  is "the same path the second time" "$path" "$(cached thing 1 counted)"
  is "builds of one key" 1 "$(wc -l < "$work/builds")"
  [ "$(cached thing 2 counted)" != "$path" ] || die "another key gave the same artefact"
  holds "a thing is built once for each key"

  # In a condition bash ignores set -e, in functions too; a failing build must not pass for done even there.
  if cached bad 1 broken 2>/dev/null; then die "a failed build was taken for done"; fi
  [ ! -e "$work/went-on" ] || die "a build went on after its first failing command"
  [ ! -e "$VBO_CACHE/built/bad/1" ] || die "a failed build left an artefact"
  holds "a build that fails leaves nothing that counts"

  # A process group of its own, all of it killed at once, as when a machine goes down.
  { timeout -s KILL 1 bash -c ". '$GROUND/env.sh'; $(declare -f slow); cached slow 1 slow 30" >/dev/null 2>&1; } 2>/dev/null || status=$?
  is "the killed build's status" 137 "$status"
  [ -e "$VBO_CACHE/built/slow/1.part/half" ] || die "the build was not killed half-way"
  [ ! -e "$VBO_CACHE/built/slow/1" ] || die "a killed build counts"
  await 5 "the killed build's lock" flock --nonblock "$VBO_CACHE/lock/slow-1" true
  path=$(cached slow 1 slow 0)
  [ -e "$path/whole" ] || die "the build after a killed one is not whole"
  holds "a killed build is done again from the start"

  rm "$work/slow"
  cached slow 2 slow 1 >/dev/null 2>&1 & cached slow 2 slow 1 >/dev/null 2>&1 & wait
  is "builds when two runs want the same thing at once" 1 "$(wc -l < "$work/slow")"
  holds "two runs do not build the same thing twice"

  echo a > "$work/recipe"; path=$(recipe_key 1 "$work/recipe")
  is "the key of the same recipe" "$path" "$(recipe_key 1 "$work/recipe")"
  echo b > "$work/recipe"
  [ "$(recipe_key 1 "$work/recipe")" != "$path" ] || die "a changed recipe kept its key"
  if (recipe_key 1 "$work/no-such-file") >/dev/null 2>&1; then die "a recipe that is not there gave a key"; fi
  holds "the key follows the recipe's content"
}

# --- which cluster ------------------------------------------------------------------------------------------------

# sourced CODE [NAME=VALUE...]: what CODE prints in a shell that has sourced env.sh with these settings
# shellcheck disable=SC2016 # that shell expands it
sourced() { local code=$1; shift; env "$@" bash -uc ". '$GROUND/env.sh'; $code"; }

# shellcheck disable=SC2016
test_choice_of_cluster() {
  local ours=$VBO_CACHE/state/c3/pki/admin.kubeconfig
  is "KUBECONFIG by default" "$ours|" "$(sourced 'echo "$KUBECONFIG|$KUBECONFIG_GIVEN"' CLUSTER_ID=3)"
  is "KUBECONFIG of another cluster of ours" "$ours|" \
    "$(sourced 'echo "$KUBECONFIG|$KUBECONFIG_GIVEN"' CLUSTER_ID=3 KUBECONFIG="$VBO_CACHE/state/c0/pki/admin.kubeconfig")"
  is "a KUBECONFIG of the user" "/home/me/config|1" "$(sourced 'echo "$KUBECONFIG|$KUBECONFIG_GIVEN"' KUBECONFIG=/home/me/config)"
  is "VBO_KUBECONFIG before KUBECONFIG" "/mine|1" "$(sourced 'echo "$KUBECONFIG|$KUBECONFIG_GIVEN"' KUBECONFIG=/x VBO_KUBECONFIG=/mine)"
  is "an image's name here" localhost/a:1 "$(sourced 'image_ref a:1')"
  is "an image's name there" r.example/p/a:1 "$(sourced 'image_ref a:1' KUBECONFIG=/x VBO_REGISTRY=r.example/p/)"
  if sourced 'image_ref a:1' KUBECONFIG=/x VBO_REGISTRY= >/dev/null 2>&1; then die "a cluster of the user's without a registry gave an image name"; fi
  holds "a KUBECONFIG that is given is used, and images then come from the registry that is named"
}

# --- images -------------------------------------------------------------------------------------------------------

config() { tar -xOf "$1" config.json | jq -c ".config$2"; }
# files IMAGE.tar: mode and path of every file in it, sorted, on one line
files() { tar -xOf "$1" layer.tar | tar -tv | awk '/^-/ {print $6 "=" $1}' | sort | xargs; }

test_mkimage() {
  mkdir -p "$work/root/bin"
  echo program > "$work/root/bin/p"; chmod 755 "$work/root/bin/p"
  IMAGE_USER=5:6 IMAGE_ENV=$'A=1\nB=two words' IMAGE_LABELS=l=v=w IMAGE_CMD='["x y"]' \
    "$GROUND/images/mkimage.sh" localhost/t:1 "$work/root" "$work/one.tar" /bin/p --flag
  touch -d 2001-01-01 "$work/root/bin/p"
  IMAGE_USER=5:6 IMAGE_ENV=$'A=1\nB=two words' IMAGE_LABELS=l=v=w IMAGE_CMD='["x y"]' \
    "$GROUND/images/mkimage.sh" localhost/t:1 "$work/root" "$work/two.tar" /bin/p --flag
  cmp "$work/one.tar" "$work/two.tar" || die "the same folder gave two different images"
  is "the entrypoint" '["/bin/p","--flag"]' "$(config "$work/one.tar" .Entrypoint)"
  is "command, user, labels" '[["x y"],"5:6",{"l":"v=w"}]' "$(config "$work/one.tar" '|[.Cmd,.User,.Labels]')"
  is "the environment" '["A=1","B=two words"]' "$(config "$work/one.tar" '.Env[1:]')"
  is "the layer's hash" "sha256:$(tar -xOf "$work/one.tar" layer.tar | sha256sum | cut -d' ' -f1)" \
    "$(tar -xOf "$work/one.tar" config.json | jq -r '.rootfs.diff_ids[0]')"
  holds "the same folder gives the same image, with what was asked for in its configuration"
}

containerfile() { printf '%s\n' "$@" > "$work/context/Containerfile"; "$GROUND/images/containerfile.sh" "$work/context" "$work/c.tar"; }

# refused MESSAGE LINE...: a Containerfile of these lines ends with this message, and without an image
refused() {
  local message=$1 out
  shift
  rm -f "$work/c.tar"
  if out=$(containerfile "$@" 2>&1); then die "this was not refused: $*"; fi
  [[ $out == *"$message"* ]] || die "expected '$message' for '$*', got: $out"
  [ ! -e "$work/c.tar" ] || die "an image came out of: $*"
}

# shellcheck disable=SC1003,SC2016 # a backslash at the end of a line and a variable are what is tested
test_containerfile() {
  local before
  mkdir -p "$work/context"/{bin,etc/sub} "$work/outside"
  echo program > "$work/context/bin/p"; chmod 755 "$work/context/bin/p"
  echo text > "$work/context/etc/sub/t"
  containerfile '# comment' '' 'FROM scratch' 'COPY bin/p /usr/bin/program' 'copy etc /etc' 'COPY bin/p etc/sub/t \' '  # inside' '  /many/' \
    'USER 65532:65532' 'ENV A=1 B="two words"' 'LABEL org.example.title="A title"' 'ENTRYPOINT ["/usr/bin/program", "run"]' 2>/dev/null
  is "the files" "./etc/sub/t=-rw-r--r-- ./many/p=-rwxr-xr-x ./many/t=-rw-r--r-- ./usr/bin/program=-rwxr-xr-x" "$(files "$work/c.tar")"
  is "the configuration" '["65532:65532",["/usr/bin/program","run"],{"org.example.title":"A title"},["A=1","B=two words"]]' \
    "$(config "$work/c.tar" '|[.User,.Entrypoint,.Labels,.Env[1:]]')"
  before=$(stat -c %i "$work/c.tar")
  "$GROUND/images/containerfile.sh" "$work/context" "$work/c.tar" 2>/dev/null
  is "the image when nothing changed" "$before" "$(stat -c %i "$work/c.tar")"
  echo changed > "$work/context/bin/p"
  "$GROUND/images/containerfile.sh" "$work/context" "$work/c.tar" 2>/dev/null
  is "the file after it changed" changed "$(tar -xOf "$work/c.tar" layer.tar | tar -xO ./usr/bin/program)"
  holds "containerfile.sh makes what Docker would make, and only when something changed"
}

# shellcheck disable=SC2016
test_containerfile_refuses() {
  refused 'RUN is not understood' 'FROM scratch' 'RUN make' 'ENTRYPOINT ["a"]'
  refused 'only FROM scratch' 'FROM debian:12' 'ENTRYPOINT ["a"]'
  refused 'only FROM scratch' 'FROM scratch AS build' 'ENTRYPOINT ["a"]'
  refused 'a second FROM' 'FROM scratch' 'FROM scratch' 'ENTRYPOINT ["a"]'
  refused 'must be FROM scratch' 'COPY bin/p /p'
  refused 'no missing in' 'FROM scratch' 'COPY missing /p' 'ENTRYPOINT ["a"]'
  refused 'lies outside' 'FROM scratch' 'COPY ../outside /p' 'ENTRYPOINT ["a"]'
  refused 'may not have ..' 'FROM scratch' 'COPY bin/p /../p' 'ENTRYPOINT ["a"]'
  refused 'wildcards' 'FROM scratch' 'COPY bin/* /p/' 'ENTRYPOINT ["a"]'
  refused 'flags' 'FROM scratch' 'COPY --chmod=755 bin/p /p' 'ENTRYPOINT ["a"]'
  refused 'must end in /' 'FROM scratch' 'COPY bin/p etc/sub/t /p' 'ENTRYPOINT ["a"]'
  refused 'variables' 'FROM scratch' 'COPY $SRC /p' 'ENTRYPOINT ["a"]'
  refused 'USER must be a number' 'FROM scratch' 'USER nobody' 'ENTRYPOINT ["a"]'
  refused 'JSON array' 'FROM scratch' 'ENTRYPOINT a b'
  refused 'K=V' 'FROM scratch' 'ENV A' 'ENTRYPOINT ["a"]'
  refused 'no ENTRYPOINT' 'FROM scratch' 'COPY bin/p /p'
  holds "containerfile.sh refuses what it does not understand, and says what and where"
}

say "testing the test ground's own shell" "5 s"
test_cached
test_choice_of_cluster
test_mkimage
test_containerfile
test_containerfile_refuses
say "the test ground's own shell holds"
