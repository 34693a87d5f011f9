#!/bin/bash
# The power fails before every step of a bundle's switch, on a real ext4 in a machine under qemu: after each cut the
# machine starts again, its file system mends itself by its journal, and the bundle must be a whole one.
# Wants what guest.sh wants, and e2fsprogs.
#
#     tests/hardware/power_cut.sh [PYTHON [FIRST [EVERY]]]     (some forty starts, without KVM)
#
# FIRST is the first step that is cut, and EVERY how many steps lie between two cuts.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
python=$(realpath -s "${1:-$root/.venv/bin/python}")
work=${POWER_CUT_DIR:-/var/tmp/edgeleuk-power-cut}
mkdir -p "$work"
disk=$work/disk.img
rm -f "$disk" && truncate -s 64M "$disk" && mkfs.ext4 -q "$disk"

start() {
    # A busy host lets the emulated machine die by itself now and then: that is no cut.
    until try "$1" || [ "$code" != 125 ] || grep -q "sysrq: Resetting" "$work/guest.log"; do sleep 1; done
    return "$code"
}

try() {
    code=0
    "$root/tests/hardware/guest.sh" "$work" $'virtio_blk\ncrc32c_generic\next4' \
        "PYTHONPATH=$root:$root/tests $python $root/tests/hardware/check_power_cut.py $1" \
        -drive "file=$disk,if=virtio,format=raw" || code=$?
    return "$code"
}

# Nothing is synced, and the power fails at the end: what was written must be gone, or the cuts cut nothing.
start careless || true
[ "$code" = 125 ] || { echo "the power did not fail"; exit 1; }
cuts=0 step=${2:-0}
while true; do
    start "$step" || true
    # The machine ended before the program did: that was a cut.
    [ "$code" = 125 ] || break
    cuts=$((cuts + 1)) step=$((step + ${3:-1}))
done
echo "power cuts: $cuts, then exit code $code"
[ "$code" = 0 ] && [ "$cuts" -gt 0 ]
