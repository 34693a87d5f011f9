#!/bin/sh
# Runs edgeleuk's contract suite against LabThings-FastAPI, the framework of OpenFlexure's microscope server, in an
# environment of its own: openflexure.sh [PORT]. The server itself is on no package index. Against a real one:
#   pytest -p edgeleuk.testing --pyargs edgeleuk.testing.test_device --camera-uri openflexure://HOST \
#     --stage-url openflexure://HOST
set -eu
here=$(cd "$(dirname "$0")" && pwd)
port=${1:-5077}
folder=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
server=
python3 -m venv "$folder/labthings"
"$folder/labthings/bin/pip" install --quiet "labthings-fastapi>=0.3,<0.4" pillow
for prefix in "/api/v3" ""; do
  (cd "$folder" && exec "$folder/labthings/bin/python" "$here/openflexure_things.py" "$port" "$prefix") &
  server=$!
  tries=0
  until python3 -c "import socket; socket.create_connection(('127.0.0.1', $port), 1)" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ]
    sleep 0.2
  done
  python3 -m pytest -q -p edgeleuk.testing --pyargs edgeleuk.testing.test_device -p no:cacheprovider \
    --camera-uri "openflexure://127.0.0.1:$port" --stage-url "openflexure://127.0.0.1:$port" --stage-reach-um 100
  python3 -c "
from edgeleuk.errors import HardwareError
from edgeleuk_firmware_bridge.stage.open import open_stage
with open_stage('openflexure://127.0.0.1:$port') as stage:
    stage.move(z_um=0.0)
    try:
        stage.focus(10.0)
        raise SystemExit('a focus out of reach was found')
    except HardwareError as error:
        print(error)
    stage.focus(100.0)
    assert stage.position().z_um == 40.0, stage.position()
    print('focused at', stage.position().z_um)
"
  kill "$server"
  wait "$server" || true
done
