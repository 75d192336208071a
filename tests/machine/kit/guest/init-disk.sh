#!/bin/busybox sh
# Finds the disk and hands over to the system on it.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
while read -r module options; do
    insmod "/mod/$module" $options || echo "insmod $module failed"
done </mod/order
tries=0
until [ -b /dev/vda ] || [ $tries = 300 ]; do sleep 0.1; tries=$((tries + 1)); done
mount -t ext4 /dev/vda /root || { echo "the disk cannot be mounted"; poweroff -f; }
umount /proc; umount /sys; mount --move /dev /root/dev
exec switch_root /root /sbin/init
