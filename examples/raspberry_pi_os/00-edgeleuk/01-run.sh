#!/bin/bash -e
# Put the wheel and the settings into the image; see docs/service.md.
install -d "${ROOTFS_DIR}/usr/local/share/edgeleuk"
install -m 644 files/edgeleuk-*.whl files/edgeleuk.toml "${ROOTFS_DIR}/usr/local/share/edgeleuk/"
