#!/bin/bash
# up.sh: the whole test ground, from nothing: Kubernetes, a Vitess shard commerce/0 with real MySQL, and this checkout's
# operator installed by its Helm chart. Quick, and harmless to what runs, when it is up already. Builds are cached
# outside the tree (see ground/env.sh) and safe to interrupt.
set -euo pipefail
exec </dev/null
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/ground/env.sh"
# shellcheck source-path=SCRIPTDIR
. "$GROUND/operator.sh"

"$GROUND/up.sh"
make -s -C "$PROJECT" image
image=$(make -s -C "$PROJECT" print-image-archive)
"$GROUND/images/load.sh" "$image"
"$GROUND/vitess/shard-up.sh" vitess-demo
install_operator "$image"
say "the test ground is up; to look around: . tests/e2e/ground/env.sh; kubectl -n vitess-demo get pods"
