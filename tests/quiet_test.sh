#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Nothing prints: the library is as quiet, and says the same of the CPU, where a container masks, cuts or garbles what it
# could read about the machine.
#   usage: quiet_test.sh ZENWOQ HELLO LIBZENWOQ_SO
set -euo pipefail
zenwoq=$(realpath "$1") hello=$(realpath "$2")
LD_LIBRARY_PATH=$(dirname "$(realpath "$3")") && export LD_LIBRARY_PATH  # the loader finds no $ORIGIN without /proc
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

own=(unshare --mount)
[ "$(id -u)" = 0 ] || own=(unshare --map-root-user --mount)
if ! "${own[@]}" mount -t tmpfs none "$folder" 2>/dev/null; then
  echo "SKIPPED: NOT tested without /proc and /sys, this system allows no mounts of one's own (unshare --mount)"
  exit 77
fi

# Everything but the number of threads, which a quota may limit only where /proc names the cgroup.
facts() { grep -v '"threads"' "$folder/$1"; }
"$zenwoq" info --json >"$folder/plain"

failed=0
# under NAME MOUNTS: the programs in a view of the system that the shell commands MOUNTS have changed
under() {
  local status=0
  "${own[@]}" bash -ec "mount --make-rprivate /; cd '$folder'; $2
    '$hello' >'$folder/hello'; exec '$zenwoq' info --json" >"$folder/out" 2>"$folder/err" || status=$?
  if [ "$status" != 0 ] || [ -s "$folder/err" ] || [ "$(cat "$folder/hello")" != "y[0] = -512" ] ||
     ! diff <(facts plain) <(facts out) >"$folder/diff"; then
    echo "$1: status $status, stderr \"$(cat "$folder/err")\", differences from the plain system: $(cat "$folder/diff" 2>/dev/null)"
    failed=1
  fi
}
over() { echo "mount --bind /dev/null '$1';"; }
text_over() { echo "printf '$1' >text; mount --bind text '$2';"; }
cpus=/sys/devices/system/cpu

under "no /proc" "mount -t tmpfs none /proc;"
under "no /sys" "mount -t tmpfs none /sys;"
under "neither /proc nor /sys" "mount -t tmpfs none /sys; mount -t tmpfs none /proc;"
under "empty cpuinfo" "$(over /proc/cpuinfo)"
under "random cpuinfo" "head -c 3000 /dev/urandom >noise; mount --bind noise /proc/cpuinfo;"
under "one processor in cpuinfo" "sed '/^\$/q' /proc/cpuinfo >short; mount --bind short /proc/cpuinfo;"
under "empty cgroup" "$(over /proc/self/cgroup)"
for file in kernel_max possible present online; do
  under "empty $file" "$(over $cpus/$file)"
  under "nonsense in $file" "$(text_over 'foo\n' $cpus/$file)"
  under "one CPU in $file" "$(text_over '0\n' $cpus/$file)"
done
under "many possible CPUs" "$(text_over '0-4095\n' $cpus/possible)"
under "nothing of cgroups" "mount -t tmpfs none /sys/fs/cgroup;"
[ $failed = 0 ] && echo "ok: nothing prints"
exit $failed
