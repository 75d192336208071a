#!/usr/bin/env bash
# Boots a Debian kernel with vivid, the kernel's V4L2 test driver, under qemu (no KVM needed) and runs edge's
# `vivid` test there. Everything is fetched and unpacked under target/vivid; nothing is installed.
# Needs qemu-system-x86_64, busybox (static), kmod, cpio and v4l2-ctl: apt-get install qemu-system-x86 busybox-static kmod cpio v4l-utils
set -euo pipefail
cd "$(dirname "$0")/../.."
work=${CARGO_TARGET_DIR:-$PWD/target}/vivid
mkdir -p "$work"

for tool in qemu-system-x86_64 busybox modprobe cpio v4l2-ctl; do
    PATH=$PATH:/sbin:/usr/sbin command -v "$tool" >/dev/null ||
        { echo "tests/vivid: $tool is missing: apt-get install qemu-system-x86 busybox-static kmod cpio v4l-utils" >&2; exit 1; }
done
PATH=$PATH:/sbin:/usr/sbin

# The test itself, as cargo names it.
binary=$(cargo test --locked --workspace --test vivid --no-run --message-format=json |
    python3 -c 'import json,sys
for line in sys.stdin:
    fact = json.loads(line)
    if fact.get("target", {}).get("name") == "vivid" and fact.get("executable"): print(fact["executable"])')

# Debian's kernel and its modules.
package=$(apt-cache depends linux-image-amd64 | awk '/Depends:/ {print $2; exit}')
kernel=${package#linux-image-}
if [ ! -e "$work/boot/vmlinuz-$kernel" ]; then
    echo "tests/vivid: fetching $package"
    (cd "$work" && apt-get download "$package" && dpkg -x "$package"_*.deb . && rm "$package"_*.deb)
    depmod -b "$work" "$kernel"
fi

# A root of busybox, the modules in load order, the test and the libraries it needs.
root=$work/root
rm -rf "$root"
mkdir -p "$root"/{bin,proc,sys,dev,mod,tmp}
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$binary" "$root/bin/vivid-test"
strip "$root/bin/vivid-test"
cp "$(command -v v4l2-ctl)" "$root/bin/v4l2-ctl"
cp -r edge/demo/bundle "$root/bundle"
ldd "$binary" "$root/bin/v4l2-ctl" | grep -o '^[[:space:]].*/[^ ]*' | grep -o '/[^ ]*' | sort -u | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
modprobe -d "$work" -S "$kernel" -D vivid | awk '{print $2}' | while read -r module; do
    cp "$module" "$root/mod/"
    basename "$module" >> "$root/mod/order"
done
cat > "$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin ULNA_V4L2_DEVICE=/dev/video0 ULNA_TEST_BUNDLE=/bundle RUST_BACKTRACE=0
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
ip link set lo up
while read -r module; do
    options=
    [ "$module" = vivid.ko ] && options="n_devs=1 node_types=0x1 num_inputs=1 input_types=0 vid_cap_nr=0"
    insmod "/mod/$module" $options
done < /mod/order
vivid-test --test-threads=1 --nocapture && echo "VIVID: passed"
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio --create --format=newc --quiet) | gzip -1 > "$work/initramfs.gz"

# Emulated: the model's self-test alone takes minutes.
timeout 1800 qemu-system-x86_64 -accel tcg -cpu max -m 768 -nographic -no-reboot -nic none \
    -kernel "$work/boot/vmlinuz-$kernel" -initrd "$work/initramfs.gz" \
    -append "console=ttyS0 panic=-1 quiet" | stdbuf -oL tr -d '\r' | tee "$work/console.log"
grep -q '^VIVID: passed' "$work/console.log"
