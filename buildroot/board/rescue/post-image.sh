#!/usr/bin/env bash
# Buildroot calls it with its images folder: from kernel and initramfs to the hybrid ISO.
set -euo pipefail
images=${1:?Buildroot passes the folder of its images}
exec "$(dirname "$0")/../../../mkiso.sh" --kernel "$images/bzImage" --initramfs "$images/rootfs.cpio.zst" \
    --output "$images/rescue.iso"
