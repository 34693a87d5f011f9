#!/bin/bash
# On a Jetson, or any machine with an NVIDIA GPU: whether `cuda` and `tensorrt` do what docs/runtimes.md says.
# BUNDLE needs a network for TensorRT (`edgeleuk convert --tensorrt`) for the checks of `tensorrt`.
#
#     tests/hardware/jetson.sh [BUNDLE] [PYTHON]     (minutes: an engine is built)
#
# Prints what the machine is, then a line for each check, and leaves figures in a folder that it names. Exits
# with 3 where a check fails. Nothing here has been run on a board yet: send what it prints with a report.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
bundle=${1:-default}
[ "$bundle" = default ] || bundle=$(realpath "$bundle")
python=$(realpath -s "${2:-$root/.venv/bin/python}")
out=$(mktemp -d /tmp/edgeleuk-jetson.XXXXXX)
export XDG_CACHE_HOME=$out/cache
camera='virtual://?seed=7&width=640&height=480&frames=3'
failed=0
cd "$out" || exit 1

# Run `edgeleuk` with the words behind the first, which names its files; leave its code and its seconds.
product() {
    local name=$1 begun
    shift
    begun=$(date +%s.%N)
    "$python" -m edgeleuk "$@" >"$out/$name.out" 2>"$out/$name.err"
    code=$?
    seconds=$(echo "$(date +%s.%N) $begun" | awk '{ printf "%.1f", $1 - $2 }')
}

# Print whether a condition, given as the words of `test`, holds.
check() {
    local what=$1
    shift
    if test "$@"; then
        echo "ok      $what"
    else
        echo "FAILED  $what"
        failed=1
    fi
}

last() { tail -n 1 "$out/$1.err"; }

echo "== the machine"
for file in /proc/device-tree/model /etc/nv_tegra_release /proc/driver/nvidia/version; do
    [ -r "$file" ] && echo "$(basename "$file"): $(tr -d '\0' <"$file" | head -n 1)"
done
dpkg-query -W -f '${Package} ${Version}\n' nvidia-jetpack libnvinfer10 libcudnn9-cuda-12 libcudnn9-cuda-13 2>/dev/null
command -v nvpmodel >/dev/null && nvpmodel -q 2>/dev/null | head -n 1
"$python" -c 'import onnxruntime as o; print("onnxruntime", o.__version__, *o.get_available_providers())'

for runtime in cuda tensorrt; do
    echo "== $runtime"
    product "$runtime-first" run --bundle "$bundle" --camera "$camera" --runtime "$runtime" --json
    first=$seconds
    if grep -q 'carries no int8 network' "$out/$runtime-first.err"; then
        echo "not checked: $bundle has no network for it"
        continue
    fi
    if [ "$code" -ne 0 ]; then
        # What cannot run has to say why, with exit code 5 and at once.
        check "it does not run, and says so with exit code 5, not $code: $(last "$runtime-first")" "$code" -eq 5
        check "in 2 s or less: $first" "$(echo "$first" | awk '{ print ($1 <= 2.0) }')" -eq 1
        continue
    fi
    echo "ok      it passed the self-test and ran; the first start took $first s"
    product "$runtime-again" run --bundle "$bundle" --camera "$camera" --runtime "$runtime" --json
    check "a second start, with what is kept: $seconds s" "$code" -eq 0
    if [ "$runtime" = tensorrt ]; then
        check "one engine is kept" "$(find "$out/cache" -name '*.engine' | wc -l)" -ge 1
        check "the second start built none" -z "$(grep 'builds an engine' "$out/$runtime-again.err")"
    fi
    product "$runtime-bench" bench --bundle "$bundle" --runtime "$runtime" --json
    check "bench: $out/$runtime-bench.out" "$code" -eq 0
    CUDA_VISIBLE_DEVICES=-1 product "$runtime-hidden" \
        run --bundle "$bundle" --camera "$camera" --runtime "$runtime" --json
    check "with the GPU hidden: exit code 5, not $code: $(last "$runtime-hidden")" "$code" -eq 5
done

echo "== beside the processor"
product litert-bench bench --bundle "$bundle" --runtime litert --json
check "bench of litert: $out/litert-bench.out" "$code" -eq 0
product verify verify "$bundle"
check "verify, on every runtime that is there" "$code" -eq 0
cat "$out/verify.out"
if [ -d "${EDGELEUK_DATA:-/nowhere}/cnmc" ]; then
    "$python" "$root/tests/bench/runtimes.py" --bundle "$bundle" >"$out/runtimes.json"
    check "fewer than 1 % of 1,500 decisions differ from LiteRT's: $out/runtimes.json" $? -eq 0
fi
echo "figures: $out"
exit $((failed ? 3 : 0))
