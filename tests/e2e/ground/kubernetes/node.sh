#!/bin/bash
# node.sh STATE_DIR: process 1 of the node. up.sh starts a copy of it in mount, network, process, host name and IPC
# namespaces of its own, so that the end of this process is the end of the node, and nothing that the node mounts,
# configures or listens on shows on the machine.
set -u
# shellcheck source=/dev/null
. "$1/node.env"
# There is memory to spare, and collecting garbage less often saves the programs a tenth of their time.
export PATH GOGC=400
log=$STATE/log pki=$STATE/pki conf=$STATE/conf
cd /

say() { echo "$(date +%T.%3N) $*"; }

# --- files: what the programs write to fixed places lands in $STATE
prepare_mounts() {
  mount -t proc proc /proc
  mount -t tmpfs -o mode=755 tmpfs /run
  mount --bind "$STATE/varlib" /var/lib
  mount --bind "$STATE/log" /var/log
  mount --bind "$conf/hosts" /etc/hosts
  mount --bind "$conf/resolv.conf" /etc/resolv.conf
  mkdir -p /run/lock /run/netns /var/lib/{kubelet,etcd,local-volumes}
  mask_sysctls
  mount --make-rshared /    # containers' mounts must reach kubelet and the other way round
}

# kubelet sets these sysctls, which have no namespace, for the whole machine (it would even reboot it on an oops). It
# leaves alone what has the right value already, so it is shown a file that has. Values: pkg/util/sysctl in Kubernetes.
mask_sysctls() {
  local name value
  mkdir -p /run/sysctl
  while read -r name value; do
    [ "$(cat "/proc/sys/$name")" != "$value" ] || continue
    echo "$value" > "/run/sysctl/${name//\//.}"
    mount --bind "/run/sysctl/${name//\//.}" "/proc/sys/$name"
  done <<END
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
END
}

# --- network: up.sh moves one end of a veth pair in here, as eth0
prepare_network() {
  ip link set lo up
  for _ in $(seq 200); do ip link show eth0 >/dev/null 2>&1 && break; sleep 0.05; done
  ip addr add "$NODE_IP/30" dev eth0
  ip link set eth0 up
  ip route add default via "$HOST_IP"
  echo 1 > /proc/sys/net/ipv4/ip_forward
  # Traffic between pods on the bridge must pass nftables, or a pod cannot reach itself or a neighbour through a service.
  echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null || true
}

# --- programs, each started again a second after it ends, as an init system would
keep() {
  local name=$1
  shift
  (
    trap - TERM INT
    while :; do
      "$@" >> "$log/$name.log" 2>&1
      echo "$(date +%T) $name ended with $?; starting it again" >> "$log/$name.log"
      sleep 1
    done
  ) &
}

start_api_server() {
  keep containerd containerd --config "$conf/containerd.toml"
  # No fsync: it survives the death of any process, and a machine that dies takes its test cluster with it.
  keep etcd etcd --name default --data-dir /var/lib/etcd --listen-client-urls http://127.0.0.1:2379 \
    --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380 \
    --unsafe-no-fsync --log-level warn
  keep kube-apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
    --advertise-address="$NODE_IP" --secure-port=6443 --service-cluster-ip-range="$SERVICE_CIDR" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
    --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
    --kubelet-certificate-authority="$pki/ca.crt" --kubelet-client-certificate="$pki/apiserver-kubelet-client.crt" \
    --kubelet-client-key="$pki/apiserver-kubelet-client.key" --kubelet-preferred-address-types=InternalIP \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-key-file="$pki/service-accounts.pub" --service-account-signing-key-file="$pki/service-accounts.key" \
    --requestheader-client-ca-file="$pki/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client \
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
    --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --proxy-client-cert-file="$pki/front-proxy-client.crt" --proxy-client-key-file="$pki/front-proxy-client.key"
}

start_the_rest() {
  keep kubelet kubelet --config="$conf/kubelet.yaml" --kubeconfig="$pki/kubelet.kubeconfig" \
    --hostname-override="$NODE_NAME" --node-ip="$NODE_IP"
  # With the default limits the default service account of a new namespace comes seconds late.
  keep kube-controller-manager kube-controller-manager --kubeconfig="$pki/kube-controller-manager.kubeconfig" \
    --authentication-kubeconfig="$pki/kube-controller-manager.kubeconfig" \
    --authorization-kubeconfig="$pki/kube-controller-manager.kubeconfig" \
    --use-service-account-credentials=true --service-account-private-key-file="$pki/service-accounts.key" \
    --root-ca-file="$pki/ca.crt" --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
    --bind-address=127.0.0.1 --leader-elect=false --flex-volume-plugin-dir=/var/lib/kubelet/volumeplugins \
    --kube-api-qps=300 --kube-api-burst=600
  keep kube-scheduler kube-scheduler --kubeconfig="$pki/kube-scheduler.kubeconfig" \
    --authentication-kubeconfig="$pki/kube-scheduler.kubeconfig" --authorization-kubeconfig="$pki/kube-scheduler.kubeconfig" \
    --bind-address=127.0.0.1 --leader-elect=false --kube-api-qps=300 --kube-api-burst=600
  keep kube-proxy kube-proxy --config="$conf/kube-proxy.yaml" --hostname-override="$NODE_NAME"
  keep local-volumes kube local-volumes -kubeconfig "$pki/local-volumes.kubeconfig" -node-name "$NODE_NAME" \
    -dir /var/lib/local-volumes
  keep coredns coredns -conf "$conf/Corefile"
}

# Everyone gets a moment to end by itself, MySQL in a pod above all; the kernel kills what is left when process 1 ends.
stop() {
  say stopping
  kill -TERM -1
  # It would see open watches out for a minute, and etcd waits for it.
  pkill -KILL -x kube-apiserver
  local processes
  for _ in {1..30}; do
    processes=(/proc/[1-9]*)
    [ ${#processes[@]} -gt 1 ] || break
    sleep 0.1
  done
  say stopped
  exit 0
}

trap stop TERM INT
prepare_mounts
hostname "$NODE_NAME"
prepare_network
start_api_server
say "started containerd, etcd, kube-apiserver"
until curl --noproxy '*' -fsk -o /dev/null -m 2 https://127.0.0.1:6443/readyz; do sleep 0.2; done
start_the_rest
say "started the rest"
# `wait` also reaps the orphans that fall to process 1.
while :; do wait; sleep 1; done
