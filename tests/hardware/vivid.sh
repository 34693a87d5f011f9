#!/bin/bash
# A real V4L2 device without a camera: Debian's kernel with its `vivid` driver, under qemu, on this very tree.
# Wants what guest.sh wants.
#
#     tests/hardware/vivid.sh [PYTHON]     (about a minute, without KVM)
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
python=$(realpath -s "${1:-$root/.venv/bin/python}")
exec "$root/tests/hardware/guest.sh" "${VIVID_DIR:-/var/tmp/edgeleuk-vivid}" \
    "vivid n_devs=1 node_types=0x1 input_types=0x0 num_inputs=1" \
    "PYTHONPATH=$root $python $root/tests/hardware/check_vivid.py"
