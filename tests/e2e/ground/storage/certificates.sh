#!/bin/bash
# certificates.sh DIR: an authority of its own in DIR (ca.crt), and what it certifies: a server on 127.0.0.1 and localhost
# (server.crt, server.key). Good for two days.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../env.sh"
cd "${1:?usage: certificates.sh DIR}"

key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
quietly() { "$@" > certificates.log 2>&1 || { cat certificates.log >&2; die "openssl failed: $*"; }; }
quietly openssl req -x509 "${key[@]}" -keyout ca.key -out ca.crt -days 2 -subj "/CN=an authority of the tests" \
  -addext "keyUsage=critical,keyCertSign"
quietly openssl req "${key[@]}" -keyout server.key -out server.csr -subj "/CN=a server of the tests"
printf 'subjectAltName = IP:127.0.0.1, DNS:localhost\nbasicConstraints = CA:FALSE\nextendedKeyUsage = serverAuth\n' > server.ext
quietly openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile server.ext
