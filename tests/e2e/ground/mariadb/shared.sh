# shellcheck shell=bash
# shellcheck disable=SC2034  # what is set here is read by the scripts that source this file
# What the scripts of this folder share. Source after env.sh.

# shellcheck source-path=SCRIPTDIR
. "$GROUND/vitess/shared.sh"
MARIADB=$GROUND/mariadb
MARIADB_TABLET_IMAGE=vitess-tablet:24.0.0-mariadb10.11     # the manifests name it too
