#!/usr/bin/env bash
# The tour that `make demo` gives: attach -> ping -> tables -> compare -> detach.
# Leaves nothing behind, also when a step fails or ctrl-C ends it.
set -euo pipefail

ebpfnet=${1:?usage: demo.sh EBPFNET-COMMAND}
network=demo
step=0

((EUID == 0)) || {
  echo "demo: this needs root, to make namespaces and load eBPF: run it again as root" >&2
  exit 1
}

for netns in demo0 demo1; do
  if [[ -e /run/netns/$netns ]]; then
    printf 'demo: there is a namespace %s already. If an earlier demo left it, remove it with\n' \
      "$netns" >&2
    printf '      %s detach --network %s\n' "$ebpfnet" "$network" >&2
    exit 1
  fi
done

# run COMMAND...: shows a command as a person would type it, then runs it.
run() {
  printf '$ %s\n' "${*/#"$ebpfnet"/ebpfnet}"
  "$@"
}

explain() {
  step=$((step + 1))
  printf '\n%d/5 %s\n' "$step" "$*"
}

clean_up() {
  local status=$?
  trap '' INT TERM # the clean-up itself is not to be cut short
  ((status == 0)) || {
    printf '\ndemo: stopped at step %d; taking the network down again\n' "$step" >&2
    "$ebpfnet" detach --network "$network" || true
  }
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

explain "Attach: make two namespaces and join them by eBPF, without a bridge."
run "$ebpfnet" attach demo0 demo1 --network "$network" --subnet 10.1.1.0/24

explain "Ping from one to the other: every packet passes the eBPF program at the sender's veth."
run ip netns exec demo0 ping -c 3 -i 0.2 10.1.1.3

explain "Look inside: the endpoints, the maps, and the map that finds an endpoint by its IPv4 address."
run "$ebpfnet" endpoint list --network "$network"
run "$ebpfnet" map list --network "$network"
run "$ebpfnet" map dump endpoints_v4 --network "$network"

explain "Compare: the same two endpoints joined by a plain veth, a bridge and eBPF, in turn."
run "$ebpfnet" compare --rounds 3

explain "Detach: programs, maps, veths and the namespaces made in step 1 go away."
run "$ebpfnet" detach --network "$network"
