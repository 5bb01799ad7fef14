# shellcheck shell=bash
# Topology servers of other kinds than Vitess's own in the ground: one pod of ZooKeeper or of Consul in the shard's namespace,
# there for the scenario that needs it and gone after it. Source after env.sh and vitess/lib.sh.

# topology_server_up zookeeper|consul: returns when its pod is Ready.
topology_server_up() {
  local image manifest=$GROUND/topology/manifests/$1.yaml
  "$GROUND/topology/image.sh" "$1" || return 1
  image=$(sed -n 's|.*image: localhost/\(vbo-[^ ]*\).*|\1|p' "$manifest")
  with_our_image "$image" < "$manifest" | in_namespace apply -f - >/dev/null &&
    in_namespace rollout status "statefulset/$1" --timeout=180s >/dev/null
}

# topology_server_down zookeeper|consul: with its volume.
topology_server_down() {
  in_namespace delete statefulset,service,secret,pod,pvc -l "app.kubernetes.io/name=$1,app.kubernetes.io/part-of=topology" \
    --ignore-not-found --timeout=120s >/dev/null
}

# zookeeper_cli COMMAND...: what ZooKeeper's own client answers.
zookeeper_cli() {
  in_namespace exec zookeeper-0 -- java -Xmx64m -XX:TieredStopAtLevel=1 -cp '/opt/zookeeper/*' \
    org.apache.zookeeper.ZooKeeperMain -server localhost:2181 "$@" 2>&1
}

# consul_cli kv get|put|delete ARG...: what Consul's own client answers, to whom may do everything.
consul_cli() {
  in_namespace exec consul-0 -- /bin/consul "$1" "$2" -token=6a253b9c-3c1b-4bd1-9d4f-0b3f9c0d7a55 "${@:3}" 2>&1
}
