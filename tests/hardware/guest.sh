#!/bin/bash
# A machine of its own: Debian's kernel under qemu, on this machine's files, which it may change for itself alone.
# Wants: apt-get install qemu-system-x86 busybox-static cpio; and a kernel, fetched and unpacked here.
#
#     tests/hardware/guest.sh WORK MODULES COMMAND [QEMU OPTION]...
#
# WORK is a folder that is kept, MODULES a line for each of the kernel's modules with its options, COMMAND a line
# for its shell. The exit code is the command's; 125 where the machine ended before the command did.
set -euo pipefail
work=$1 modules=$2 command=$3
shift 3
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
cat > guest/init <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc p /proc; $b mount -t sysfs s /sys; $b mount -t devtmpfs d /dev
INIT
while read -r name options; do
    line=$(grep -E "/$name\.ko[^:]*:" "kernel/lib/modules/$version/modules.dep")
    for file in $(echo "${line#*:}" | tr ' ' '\n' | tac) "${line%%:*}"; do
        base=$(basename "$file")
        [ -e "guest/lib/$base" ] && continue
        cp "kernel/lib/modules/$version/$file" guest/lib/
        if [ "${base%%.ko*}" = "$name" ]; then with=$options; else with=; fi
        echo "\$b insmod /lib/$base $with"
    done
done <<< "$(printf '%s\n' virtio_pci 9pnet_virtio 9p overlay "$modules")" >> guest/init
cat >> guest/init <<INIT
# The host's files, which the guest may change for itself alone.
\$b mount -t tmpfs t /over; \$b mkdir -p /over/up /over/work /over/root
\$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,ro,cache=loose host /mnt
\$b mount -t overlay -o lowerdir=/mnt,upperdir=/over/up,workdir=/over/work o /over/root
\$b mount -t proc p /over/root/proc; \$b mount -t sysfs s /over/root/sys; \$b mount --bind /dev /over/root/dev
\$b ip link set lo up
PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin \$b chroot /over/root /bin/sh -c '$command'
echo "guest: exit code \$?"
\$b poweroff -f
INIT
chmod +x guest/init
(cd guest && find . | cpio -o -H newc --quiet | gzip > ../initrd.gz)

timeout 600 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 -nic none -nographic -no-reboot \
    -kernel "kernel/boot/vmlinuz-$version" -initrd initrd.gz \
    -append "console=ttyS0 quiet loglevel=3 panic=-1 no_timer_check" \
    -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
    "$@" | tr -d '\r' | tee guest.log
code=$(sed -n 's/^guest: exit code //p' guest.log)
exit "${code:-125}"
