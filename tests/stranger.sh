#!/usr/bin/env bash
# A stranger's first quarter of an hour: install the wheel into a fresh environment, then a picture, a camera, a network
# and help. Prints what each step printed, and its time. Needs pip's index, and nothing of this tree but the wheel.
#
#   make wheel && tests/stranger.sh [dist/edgeleuk-*.whl]
#
# STRANGER_PICTURE names a picture of yours, STRANGER_NETWORK with STRANGER_DATA a Keras network and its labelled
# cells. Without them a field, and the network with its cells, are drawn. WORKSTATION=no leaves the network out.
set -euo pipefail

here="$(cd "$(dirname "$0")/.." && pwd)"
wheel="${1:-$(ls "$here"/dist/edgeleuk-*.whl | tail -n 1)}"
wheel="$(realpath "$wheel")"
folder="$(mktemp -d "${TMPDIR:-/tmp}/stranger.XXXXXX")"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
# What an earlier measurement left with the user would make this one faster than a stranger's.
export XDG_CACHE_HOME="$folder/cache"
unset PYTHONPATH
python="$folder/venv/bin/python"
edgeleuk="$folder/venv/bin/edgeleuk"
began=$SECONDS
times=()

# step NAME COMMAND...: runs it, shows the end of its output, and keeps its time.
step() {
  local name="$1" start end seconds
  shift
  printf '\n== %s\n$ %s\n' "$name" "${*//$folder\//}"
  start=$(date +%s%N)
  if ! "$@" >"$folder/output" 2>&1; then
    tail -n 30 "$folder/output"
    printf 'the step "%s" failed\n' "$name" >&2
    exit 1
  fi
  end=$(date +%s%N)
  tail -n 12 "$folder/output" | cut -c 1-160
  seconds=$(printf '%d.%01d' $(((end - start) / 1000000000)) $(((end - start) / 100000000 % 10)))
  times+=("$(printf '%8s s  %s' "$seconds" "$name")")
}

step "make an environment" "${PYTHON:-python3}" -m venv venv
step "install the wheel" "$python" -m pip install -qq --disable-pip-version-check "$wheel"
step "help" "$edgeleuk" --help
step "help of a command" "$edgeleuk" classify --help
step "does this computer compute right?" "$edgeleuk" verify default

# The picture of somebody who has none at hand, and a video of a walk over the slide.
cat >draw.py <<'DRAW'
import sys

import av
import cv2
from edgeleuk.virtual.render import VirtualSlide

slide = VirtualSlide(seed=2)
cv2.imwrite("drawn.jpg", slide.field(0, 0).pixels[:, :, ::-1])
with av.open("video.avi", "w") as video:
    stream = video.add_stream("mjpeg", rate=5)
    stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 1280, 960, "yuvj444p", 80_000_000
    for number in range(10):
        pixels = slide.field(number * 30.0, 0.0).pixels
        video.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
    video.mux(stream.encode())
sys.exit(0)
DRAW
"$python" draw.py
cp "${STRANGER_PICTURE:-drawn.jpg}" field.jpg

step "your own picture" "$edgeleuk" classify field.jpg --save out.png
test -s out.png
step "the same from Python" "$python" -c '
import edgeleuk
result = edgeleuk.classify("field.jpg")
print(result.counts, [cell.label for cell in result.cells])'
step "which cameras are there?" bash -c "'$edgeleuk' camera list || test \$? = 6"
step "your own camera (a video)" "$edgeleuk" run --camera file://video.avi --session session.db
step "what came out" "$edgeleuk" report session.db --html session.html
test -s session.html

if [ "${WORKSTATION:-yes}" = yes ]; then
  step "install the workstation" "$python" -m pip install -qq --disable-pip-version-check 'edgeleuk[workstation]'
  if [ -n "${STRANGER_NETWORK:-}" ]; then
    cp -r "$STRANGER_NETWORK" theirs.keras
    data="${STRANGER_DATA:?the folder of the labelled cells of STRANGER_NETWORK}"
  else
    data="$folder/cells"
    # Drawn cells of 12 subjects of either class, and a small network that was taught them.
    cat >teach.py <<'TEACH'
from pathlib import Path

import cv2
import keras
import numpy as np
from edgeleuk.virtual.cells import single_cell

pictures, truth = [], []
for kind in ("normal", "blast"):
    for subject in range(12):
        folder = Path("cells") / kind / f"{kind[0].upper()}{subject}"
        folder.mkdir(parents=True)
        for number in range(8):
            pixels = single_cell(kind, 1000 * len(pictures) + number).pixels
            cv2.imwrite(str(folder / f"{number}.png"), pixels[:, :, ::-1])
            pictures.append(cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_AREA))
            truth.append(kind == "blast")
keras.utils.set_random_seed(0)
network = keras.Sequential(
    [
        keras.Input((64, 64, 3)),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
        keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
network.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
network.fit(np.stack(pictures).astype(np.float32), np.array(truth, np.float32), epochs=40, verbose=0)
network.save("theirs.keras")
TEACH
    step "(a network to bring along)" "$python" teach.py
  fi
  # A small network on few cells is `undecided`, with a warning; one that int8 harms ends with 3 and is refused.
  step "your own network" "$edgeleuk" convert theirs.keras --int8 --data "$data" --out theirs.edgeleuk
  step "is it whole?" "$edgeleuk" verify theirs.edgeleuk
  step "your own network on your camera" "$edgeleuk" run --camera file://video.avi --bundle theirs.edgeleuk --session theirs.db
fi

printf '\n== times\n'
printf '%s\n' "${times[@]}"
printf '%8s s  in all\n' "$((SECONDS - began))"
