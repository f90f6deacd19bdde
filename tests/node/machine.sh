#!/usr/bin/env bash
# PID 1 of a machine with one node of a real Kubernetes: its own network, mounts and processes. When it is killed, all of
# it ends at once, as if the power was lost; what it has on its disk (the directory DISK) is there at the next start.
#
#   DISK       a directory with what tests/node/files.py writes
#   KUBE       kube-apiserver, kube-controller-manager, kubectl, etcd
#   NODE       kubelet, kube-proxy, kube-scheduler
#   PROGRAMS   kube-router
#   CGROUP     the name of its control groups
#   ADDRESS    its address, on the link that the test puts into its network
set -euo pipefail
logs=$DISK/logs pki=$DISK/pki
say() { printf '%(%H:%M:%S)T %s\n' -1 "$*"; }
wait_for() { # SECONDS COMMAND...
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || { say "never: $*"; exit 1; }
    sleep 0.1
  done
}
kube() { "$KUBE/kubectl" --kubeconfig "$pki/admin.kubeconfig" "$@"; }

ip link set lo up
wait_for 20 ip link show uplink
ip address add "$ADDRESS/24" dev uplink
ip link set uplink up
ip route add default via "${ADDRESS%.*}.254"
echo 1 >/proc/sys/net/ipv4/ip_forward

# What is written to /var goes to the disk, what is written to /run to nothing.
mkdir -p "$DISK/var" "$DISK/work" "$logs"
mount -t overlay -o "lowerdir=/var,upperdir=$DISK/var,workdir=$DISK/work" overlay /var
mount --bind "$DISK/resolv.conf" /etc/resolv.conf
mount -t tmpfs tmpfs /run
umount /sys/fs/cgroup/unified 2>/dev/null || true # a kubelet takes hybrid control groups for version 2
# A kubelet sets these, and they are the whole machine's: it sees the values that it wants.
for pair in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
  file=/run/sysctl-${pair##*/}
  echo "${pair#*=}" >"${file%=*}"
  mount --bind "${file%=*}" "/proc/sys/${pair%=*}"
done
for controller in cpu cpuacct cpuset memory pids devices freezer blkio systemd; do
  mkdir -p "/sys/fs/cgroup/$controller/$CGROUP"
done

containerd --config "$DISK/containerd.toml" >>"$logs/containerd.log" 2>&1 &
"$KUBE/etcd" --data-dir="$DISK/etcd" --log-level=warn --unsafe-no-fsync >>"$logs/etcd.log" 2>&1 &
"$KUBE/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --advertise-address="$ADDRESS" \
  --secure-port=6443 --cert-dir="$pki" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
  --client-ca-file="$pki/ca.crt" --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
  --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file="$pki/sa.pub" \
  --service-account-signing-key-file="$pki/sa.key" --service-cluster-ip-range=10.96.0.0/16 \
  --kubelet-client-certificate="$pki/admin.crt" --kubelet-client-key="$pki/admin.key" \
  --kubelet-preferred-address-types=InternalIP --allow-privileged=true --profiling=false >>"$logs/apiserver.log" 2>&1 &
wait_for 60 kube get --raw /readyz
say "apiserver ready"
"$KUBE/kube-controller-manager" --kubeconfig="$pki/admin.kubeconfig" --leader-elect=false --secure-port=0 \
  --service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt" --cluster-signing-cert-file="$pki/ca.crt" \
  --cluster-signing-key-file="$pki/ca.key" --use-service-account-credentials --profiling=false \
  >>"$logs/controller-manager.log" 2>&1 &
"$NODE/kube-scheduler" --kubeconfig="$pki/admin.kubeconfig" --leader-elect=false --secure-port=0 >>"$logs/scheduler.log" 2>&1 &
wait_for 30 ctr version
for archive in "$DISK"/images/*.tar; do
  [ -e "$archive.imported" ] || { ctr -n k8s.io images import "$archive" >>"$logs/images.log" && touch "$archive.imported"; }
done
say "images imported"
"$NODE/kubelet" --config="$DISK/kubelet.yaml" --kubeconfig="$pki/kubelet.kubeconfig" --hostname-override=node-0 \
  --node-ip="$ADDRESS" >>"$logs/kubelet.log" 2>&1 &
"$NODE/kube-proxy" --config="$DISK/proxy.yaml" --hostname-override=node-0 >>"$logs/proxy.log" 2>&1 &
wait_for 60 kube get node node-0
"$PROGRAMS/kube-router" --kubeconfig="$pki/admin.kubeconfig" --hostname-override=node-0 --run-firewall --run-router=false \
  --run-service-proxy=false --service-cluster-ip-range=10.96.0.0/16 >>"$logs/kube-router.log" 2>&1 &
kube wait --for=condition=Ready node/node-0 --timeout=120s
say "node ready"
touch "$DISK/up"
wait
