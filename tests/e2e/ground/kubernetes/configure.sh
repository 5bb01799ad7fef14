#!/bin/bash
# configure.sh COREDNS_DIR: writes what the node's programs read: keys, $STATE/conf and $STATE/node.env. Called by up.sh.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../env.sh"
coredns_dir=$1
conf=$STATE/conf pki=$STATE/pki
mkdir -p "$conf/cni" "$STATE"/{log,tmp,varlib}

"$KUBE_BIN/kube" pki -dir "$pki" -node-ip "$NODE_IP" -service-ip "$API_SERVICE_IP" -node-name "$NODE_NAME"

# restrict_oom_score_adj: where root lacks CAP_SYS_RESOURCE nobody may lower oom_score_adj, and without it runc fails with
# "can't get final child's PID from pipe: EOF". The opt plugin would otherwise make /opt/containerd on this machine.
cat > "$conf/containerd.toml" <<END
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/vbo-pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$conf/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
END

# No masquerading: this machine has routes to pods and services, and there is nothing beyond it for them to reach.
cat > "$conf/cni/10-pods.conflist" <<END
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "isDefaultGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$POD_CIDR"}]], "dataDir": "/run/cni-ipam"}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
END

# The image garbage collector is off (100 %): an image of ours could not be pulled again. Eviction only when the disk is
# as good as full.
cat > "$conf/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$NODE_CGROUP
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet-server.crt
tlsPrivateKeyFile: $pki/kubelet-server.key
clusterDomain: cluster.local
clusterDNS: [$NODE_IP]
resolvConf: $conf/resolv.conf
failSwapOn: false
volumePluginDir: /var/lib/kubelet/volumeplugins
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
oomScoreAdj: 0
END

# The conntrack limits are this machine's, not the node's: 0 leaves them alone.
cat > "$conf/kube-proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
oomScoreAdj: 0
clusterCIDR: $POD_CIDR
clientConnection: {kubeconfig: $pki/kube-proxy.kubeconfig}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
END

# Short lifetimes: tests look for names right after they made them. There is nowhere to forward other names to.
cat > "$conf/Corefile" <<END
.:53 {
  bind $NODE_IP
  errors
  health 127.0.0.1:8090
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $pki/coredns.kubeconfig
    pods verified
    ttl 5
  }
  cache 5
}
END

printf '127.0.0.1 localhost\n%s %s\n' "$NODE_IP" "$NODE_NAME" > "$conf/hosts"
: > "$conf/resolv.conf"
# Stable folder names for a node that may live longer than this checkout; node.sh is a copy for the same reason.
cat > "$STATE/node.env" <<END
STATE=$(printf %q "$STATE")
NODE_NAME=$NODE_NAME NODE_IP=$NODE_IP HOST_IP=$HOST_IP SERVICE_CIDR=$SERVICE_CIDR
PATH=$(printf %q "$KUBE_BIN:$coredns_dir"):/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
END
cp "$GROUND/kubernetes/node.sh" "$STATE/node.sh.new"
mv "$STATE/node.sh.new" "$STATE/node.sh"
