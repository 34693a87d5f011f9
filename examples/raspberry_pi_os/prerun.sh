#!/bin/bash -e
# A stage of pi-gen begins with the system of the stage before it.
if [ ! -d "${ROOTFS_DIR}" ]; then
  copy_previous
fi
