#!/bin/bash
# A real V4L2 device without a camera: Debian's kernel with its `vivid` driver, under qemu, on this very tree.
# Wants: apt-get install qemu-system-x86 busybox-static cpio; and a kernel, unpacked here by this script.
#
#     tests/hardware/vivid.sh [PYTHON]     (about a minute, without KVM)
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
python=$(realpath -s "${1:-$root/.venv/bin/python}")
work=${VIVID_DIR:-/var/tmp/edgeleuk-vivid}
mkdir -p "$work" && cd "$work"

if [ ! -d kernel ]; then
    image=$(apt-cache depends linux-image-amd64 | awk '/Depends:/ {print $2; exit}')
    apt-get download "$image"
    dpkg -x linux-image-*.deb kernel
    (cd kernel && busybox depmod -b . "$(ls lib/modules)")
fi
version=$(ls kernel/lib/modules)

# The guest's own files: busybox, and the modules in the order of their dependencies.
rm -rf guest && mkdir -p guest/{bin,lib,mnt,over,proc,sys,dev}
cp "$(command -v busybox)" guest/bin/busybox
for name in virtio_pci 9pnet_virtio 9p overlay vivid; do
    line=$(grep -E "/$name\.ko[^:]*:" "kernel/lib/modules/$version/modules.dep")
    for file in $(echo "${line#*:}" | tr ' ' '\n' | tac) "${line%%:*}"; do
        grep -qxF "$(basename "$file")" guest/modules 2>/dev/null && continue
        cp "kernel/lib/modules/$version/$file" guest/lib/
        basename "$file" >> guest/modules
    done
done
cat > guest/init <<INIT
#!/bin/busybox sh
b=/bin/busybox
\$b mount -t proc p /proc; \$b mount -t sysfs s /sys; \$b mount -t devtmpfs d /dev
for m in \$(\$b cat /modules); do
    case \$m in
        vivid.*) \$b insmod /lib/\$m n_devs=1 node_types=0x1 input_types=0x0 num_inputs=1 ;;
        *) \$b insmod /lib/\$m ;;
    esac
done
# The host's files, which the guest may change for itself alone.
\$b mount -t tmpfs t /over; \$b mkdir -p /over/up /over/work /over/root
\$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,ro,cache=loose host /mnt
\$b mount -t overlay -o lowerdir=/mnt,upperdir=/over/up,workdir=/over/work o /over/root
\$b mount -t proc p /over/root/proc; \$b mount -t sysfs s /over/root/sys; \$b mount --bind /dev /over/root/dev
\$b ip link set lo up
PYTHONPATH=$root PATH=/usr/local/bin:/usr/bin:/bin \$b chroot /over/root $python $root/tests/hardware/check_vivid.py
echo "guest: exit code \$?"
\$b poweroff -f
INIT
chmod +x guest/init
(cd guest && find . | cpio -o -H newc --quiet | gzip > ../initrd.gz)

timeout 300 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 -nographic -no-reboot \
    -kernel "kernel/boot/vmlinuz-$version" -initrd initrd.gz \
    -append "console=ttyS0 quiet loglevel=3 panic=-1" \
    -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap | tr -d '\r' | tee guest.log
grep -q "guest: exit code 0" guest.log
