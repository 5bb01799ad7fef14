#!/bin/bash
# prove.sh: asserts on the running cluster what the end-to-end tests take for granted: Jobs, logs, exec, volumes shared
# by two pods, DNS, RBAC, Pod Security. Ends with the first thing that does not hold. (What must be gone after teardown
# is down.sh's to check.)
set -euo pipefail
exec </dev/null
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../env.sh"
ns=prove-$$
image=$(image_ref vbo-base:12)

k() { kubectl --request-timeout=60s -n "$ns" "$@"; }
holds() { say "holds: $1"; }
# is WHAT EXPECTED ACTUAL
is() { [ "$2" = "$3" ] || die "$1: expected '$2', got '$3'"; }
# refused WHAT MESSAGE COMMAND...: the command must fail, and with this message: any other failure proves nothing.
refused() {
  local what=$1 message=$2 out
  shift 2
  if out=$("$@" 2>&1); then die "$what was allowed: $out"; fi
  [[ $out == *"$message"* ]] || die "$what failed for another reason than '$message': $out"
}

clean_up() {
  local status=$?
  if [ $status -ne 0 ]; then k get pods,events 2>&1 | tail -n 40 >&2 || true; fi
  kubectl delete namespace "$ns" --ignore-not-found --wait=false >/dev/null 2>&1 || true
  exit $status
}

prove_job() {
  k apply -f - >/dev/null <<Y
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      initContainers:
      - {name: copy, image: "$image", command: [bash, -c, "echo from-init > /shared/f"], volumeMounts: [{name: shared, mountPath: /shared}]}
      containers:
      - name: main
        image: "$image"
        command: [bash, -c, "cat /shared/f; echo outcome > /dev/termination-log"]
        volumeMounts: [{name: shared, mountPath: /shared}]
      volumes: [{name: shared, emptyDir: {}}]
Y
  k wait --for=condition=complete job/once --timeout=60s >/dev/null
  is "the Job's log" from-init "$(k logs job/once -c main)"
  is "the termination message" outcome \
    "$(k get pod -l job-name=once -o 'jsonpath={.items[0].status.containerStatuses[0].state.terminated.message}')"
  holds "a Job with an init container runs; its log and its termination message are read"
}

# Two pods as in an attached backup: another user than the image's, the same fsGroup, the same claim at the same time.
twin() {
  cat <<Y
apiVersion: v1
kind: Pod
metadata: {name: $1, labels: {app: $1}}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, runAsUser: 1000, runAsGroup: 1000, fsGroup: 2000, fsGroupChangePolicy: OnRootMismatch, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: main
    image: "$image"
    command: [bash, -c, "trap 'exit 0' TERM; while :; do echo alive; sleep 0.5 & wait; done"]
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: data, mountPath: /vt/data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
---
Y
}

prove_shared_volume() {
  local volume
  { cat <<Y; twin first; twin second; } | k apply -f - >/dev/null
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}
---
Y
  k wait --for=condition=Ready pod/first pod/second --timeout=60s >/dev/null
  is "the class that a claim gets by default" standard "$(k get pvc data -o 'jsonpath={.spec.storageClassName}')"
  k exec first -- bash -c 'echo written > /vt/data/f'
  is "the second pod's view of the file" written "$(k exec second -- cat /vt/data/f)"
  is "owner and group of the file" 1000:2000 "$(k exec second -- stat -c %u:%g /vt/data/f)"
  # What mysqlctld's socket needs: the other pod connects to a socket on the shared volume.
  k exec first -- bash -c "setsid perl -MIO::Socket::UNIX -e '
      my \$s = IO::Socket::UNIX->new(Local => q(/vt/data/socket), Listen => 1) or die;
      my \$c = \$s->accept; 1 while (my \$line = <\$c>) =~ /\\S/; print \$c qq(HTTP/1.0 200 OK\\r\\n\\r\\nacross)' </dev/null >/dev/null 2>&1 &"
  is "what came through a socket on the volume" across \
    "$(k exec second -- bash -c 'for i in {1..50}; do [ -S /vt/data/socket ] && break; sleep 0.1; done
       curl -fsS -m 10 --unix-socket /vt/data/socket http://first/')"
  holds "two pods use one ReadWriteOnce claim, and a socket on it, at the same time, with fsGroup, not as root"

  volume=$(k get pvc data -o 'jsonpath={.spec.volumeName}')
  prove_logs_and_exec
  k delete pod first second --wait >/dev/null
  k delete pvc data --wait >/dev/null
  kubectl wait --for=delete "pv/$volume" --timeout=30s >/dev/null
  if [ -z "$KUBECONFIG_GIVEN" ]; then
    [ ! -e "$STATE/varlib/local-volumes/$volume" ] || die "the folder of $volume outlived its claim"
  fi
  holds "a volume goes with its claim"
}

prove_logs_and_exec() {
  local status=0 lines
  k exec first -- bash -c 'exit 7' 2>/dev/null || status=$?
  is "the exit code through exec" 7 "$status"
  # `; true`: a command that closes its stdout early can lose its stdin in containerd 1.6.
  is "stdin through exec" typed "$(echo typed | k exec -i first -- bash -c 'cat; true')"
  lines=$(timeout 3 kubectl -n "$ns" logs -f first | wc -l || true)
  [ "$lines" -ge 3 ] || die "followed the log for 3 s and saw $lines lines"
  holds "logs -f follows; exec carries stdin and the exit code"
}

prove_dns() {
  local missing=0
  k run web --image="$image" --labels=app=web --restart=Never --command -- sleep 600 >/dev/null
  k expose pod web --name=site --port=80 >/dev/null
  k wait --for=condition=Ready pod/web --timeout=60s >/dev/null
  is "the address of the service site" "$(k get service site -o 'jsonpath={.spec.clusterIP}')" \
    "$(k exec web -- bash -c 'for i in {1..50}; do getent ahostsv4 site && break; sleep 0.2; done' | awk 'NR == 1 {print $1}')"
  k exec web -- bash -c 'curl -fsS --retry 5 --retry-connrefused -m 5 --cacert /run/secrets/kubernetes.io/serviceaccount/ca.crt \
    https://kubernetes.default.svc/readyz' >/dev/null || die "a pod cannot reach the API server by its name"
  k exec web -- getent hosts "nothing.$ns.svc.cluster.local" >/dev/null 2>&1 || missing=$?
  is "getent's answer (2: not found) for a name that does not exist" 2 "$missing"
  holds "a pod finds services by name, and reaches the API server through its ClusterIP"
}

prove_rbac() {
  local as=system:serviceaccount:$ns:default
  refused "a service account without rights listing pods" "pods is forbidden" k get pods --as="$as"
  k create role reader --verb=list --resource=pods >/dev/null
  k create rolebinding reader --role=reader --serviceaccount="$ns:default" >/dev/null
  await 10 "the new right to count" k get pods --as="$as"
  refused "listing secrets with a right to list pods" "secrets is forbidden" k get secrets --as="$as"
  holds "RBAC refuses what no role allows, and allows what one does"
}

prove_pod_security() {
  kubectl label namespace "$ns" pod-security.kubernetes.io/enforce=restricted --overwrite >/dev/null
  refused "a privileged pod in a restricted namespace" 'violates PodSecurity "restricted:latest"' \
    k run bad --image="$image" --restart=Never --privileged --command -- true
  twin good | sed 's/^  volumes:.*//; /^    volumeMounts:/d' | k apply -f - >/dev/null
  k wait --for=condition=Ready pod/good --timeout=60s >/dev/null
  holds "Pod Security refuses a privileged pod where 'restricted' is enforced, and lets a restricted one run"
}

say "proving the cluster" "30 s"
tar=$("$GROUND/images/base.sh" image)
"$GROUND/images/load.sh" "$tar"
trap clean_up EXIT
kubectl create namespace "$ns" >/dev/null
await 30 "the namespace's service account" k get serviceaccount default
prove_job
prove_shared_volume
prove_dns
prove_rbac
prove_pod_security
say "the cluster does what the tests need"
