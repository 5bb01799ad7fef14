#!/bin/bash
# prepare.sh: makes what later tests will ask for, while earlier ones run: most of their time they wait for servers, and
# builds that give way to them cost next to nothing. What fails here fails again, and is told, where it is needed.
set -uo pipefail
exec </dev/null
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/env.sh"

# The order in which tests ask for them.
"$GROUND/vitess/mysql.sh"
"$GROUND/vitess/build.sh" host
"$GROUND/mariadb/build.sh"
for server in versitygw s3s-fs azurite fake-gcs-server; do "$GROUND/storage/build.sh" "$server"; done
for server in zookeeper39 zookeeper38 consul; do "$GROUND/topology/build.sh" "$server"; done
"$GROUND/kubernetes/build.sh"
make -s -C "$GROUND/../../.." image
"$GROUND/vitess/image.sh" build
"$GROUND/mariadb/image.sh" build
for server in zookeeper consul; do "$GROUND/topology/image.sh" "$server" build; done
