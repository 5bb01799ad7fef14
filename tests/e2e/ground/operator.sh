# shellcheck shell=bash
# The operator of this checkout, installed by the chart. Source after env.sh.

PROJECT=$(cd "$GROUND/../../.." && pwd)
OPERATOR_NAMESPACE=vitess-backup-operator

# install_operator ARCHIVE: installs or upgrades the release from the image in ARCHIVE, and waits until that very image is
# ready. The image's hash is a pod annotation, so that a new build under the same tag is rolled out too.
install_operator() {
  local reference hash
  reference=$(image_ref vitess-backup-operator:dev)
  hash=$(sha256sum < "$1.inputs")
  say "installing the Helm chart" "5 s"
  kubectl create namespace "$OPERATOR_NAMESPACE" >/dev/null 2>&1 || true
  kubectl label namespace "$OPERATOR_NAMESPACE" pod-security.kubernetes.io/enforce=restricted --overwrite >/dev/null
  "$GROUND/helm.sh" upgrade --install vitess-backup-operator "$PROJECT/charts/vitess-backup-operator" \
    --namespace "$OPERATOR_NAMESPACE" --create-namespace --wait --timeout 180s --force-conflicts \
    --set "image.repository=${reference%:*}" --set image.tag=dev --set networkPolicy.enabled=true --set webhook.enabled=true \
    --set "podAnnotations.build=sha${hash:0:16}" >/dev/null
}
