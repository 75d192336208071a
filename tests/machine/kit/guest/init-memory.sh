#!/bin/busybox sh
# The first process of a machine that has no disk: loads the modules, then serves the test.
/bin/busybox --install -s /bin
export PATH=/bin RUST_BACKTRACE=0
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
ip link set lo up
while read -r module options; do
    insmod "/mod/$module" $options || echo "insmod $module failed"
done </mod/order
agent
