#!/bin/bash -e
# Within the image: install edgeleuk beside the system's picamera2, and let it start with the system.
cd /usr/local/share/edgeleuk
wheel=$(echo edgeleuk-*.whl)
python3 -m venv --system-site-packages /opt/edgeleuk
/opt/edgeleuk/bin/pip install --no-cache-dir --only-binary=:all: "./${wheel}[serve,stage]"
/opt/edgeleuk/bin/edgeleuk service install --root / --config edgeleuk.toml
