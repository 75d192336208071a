# The system's files; sourced by build.sh.

# Lets this machine's kernel start arm64 programs, for the packages' own scripts.
run_arm64_programs() {
  local at=/proc/sys/fs/binfmt_misc
  [ -e $at/register ] || root mount -t binfmt_misc binfmt_misc $at
  [ -e $at/qemu-aarch64 ] || printf '%s' ':qemu-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:OCF' >$at/register
  arch-test arm64 >/dev/null || fail "this machine cannot run arm64 programs, not even with qemu-user"
}

# make_base TAR: Debian's packages, installed. Kept between builds, as long as the list of packages is the same.
make_base() {
  local tar=$1 names recipe
  names=$(paste -sd, "$here/packages")${kiosk:+,cage,chromium,xwayland,fonts-dejavu-core}
  recipe=$(printf %s "$names" | sha256sum | cut -d' ' -f1)
  if [ -e "$tar" ] && [ "$(cat "$tar.recipe" 2>/dev/null)" = "$recipe" ]; then return; fi
  echo "installing Debian's packages for arm64 under emulation: about ten minutes"
  rm -f "$tar.recipe"
  # The initial RAM disk is made once, when everything is in place.
  INITRD=No nice mmdebstrap --quiet --mode=root --architectures=arm64 --variant=essential --include="$names" \
    --skip=check/qemu --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm "$tar" /etc/apt/sources.list.d/debian.sources
  echo "$recipe" >"$tar.recipe"
}

# Drivers of big machines' hardware, half of the kernel's modules.
UNUSED_MODULES='drivers/gpu/drm/amd drivers/gpu/drm/nouveau drivers/gpu/drm/radeon drivers/infiniband drivers/net/ethernet/mellanox
  drivers/net/ethernet/chelsio drivers/net/ethernet/qlogic drivers/net/ethernet/broadcom/bnx2x drivers/net/ethernet/netronome
  drivers/net/wireless drivers/scsi drivers/isdn drivers/media/dvb-frontends drivers/media/tuners sound fs/ocfs2 fs/ceph fs/gfs2
  fs/afs fs/xfs fs/btrfs fs/bcachefs fs/smb fs/cifs fs/nfs fs/nfsd drivers/target drivers/iio drivers/staging'
# They stand under drivers/scsi too, and are needed for USB sticks and disks.
KEPT_MODULES='scsi_mod.ko sd_mod.ko scsi_common.ko virtio_scsi.ko'

make_root() {
  local tar=$1 root=$2
  rm -rf "$root"
  mkdir -p "$root"
  tar -C "$root" --xattrs -xf "$tar"
  drop_modules "$root"

  cp "$deb" "$root/tmp/ulna-edge.deb"
  # The service manager is not there to be asked.
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
  chmod 755 "$root/usr/sbin/policy-rc.d"
  inside "$root" dpkg --force-depends -i /tmp/ulna-edge.deb >/dev/null
  rm "$root/tmp/ulna-edge.deb" "$root/usr/sbin/policy-rc.d"
  [ -z "$kiosk" ] || cp "$repository"/deploy/kiosk/*.service "$root/usr/lib/systemd/system/"
  [ -z "$kiosk" ] || cp "$repository"/deploy/kiosk/*.sysusers.conf "$root/usr/lib/sysusers.d/"

  cp -r "$here/root/." "$root/"
  install -m 644 "$here/README.md" "$root/usr/lib/ulna-image/README"
  install -m 644 "$cert" "$root/etc/rauc/keyring.pem"
  echo "$version" >"$root/usr/lib/ulna-image/version"
  echo "IMAGE_VERSION=$version" >>"$root/usr/lib/os-release"
  install -m 755 "$here/initramfs/hook" "$root/etc/initramfs-tools/hooks/ulna"
  install -m 755 "$here/initramfs/ulna-state" "$root/etc/initramfs-tools/scripts/local-bottom/ulna-state"
  install -m 644 "$here/initramfs/modules" "$root/etc/initramfs-tools/modules"
  sed -i 's/^MODULES=.*/MODULES=list/; s/^COMPRESS=.*/COMPRESS=gzip/' "$root/etc/initramfs-tools/initramfs.conf"

  settle "$root"
  inside "$root" update-initramfs -c -k all >/dev/null
  ln -sf "$(cd "$root/boot" && ls -d vmlinuz-*)" "$root/boot/vmlinuz"
  ln -sf "$(cd "$root/boot" && ls -d initrd.img-*)" "$root/boot/initrd.img"
  [ -z "$change" ] || "$change" "$root"
}

inside() { LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive chroot "$@"; }

drop_modules() {
  local kernel name
  for kernel in "$1"/lib/modules/*/kernel; do
    mkdir "$kernel/kept"
    for name in $KEPT_MODULES; do find "$kernel/drivers/scsi" -name "$name" -exec mv {} "$kernel/kept/" \; ; done
    for name in $UNUSED_MODULES; do rm -rf "${kernel:?}/$name"; done
    inside "$1" depmod "$(basename "$(dirname "$kernel")")"
  done
}

# Everything that a running Debian would write into its root is written now, or made impossible.
settle() {
  local root=$1 unit
  inside "$root" systemd-sysusers
  rm -rf "$root"/etc/apt "$root"/var/lib/apt "$root"/var/cache/* "$root"/var/log/* "$root"/etc/ssh/ssh_host_* "$root"/initrd.img* "$root"/vmlinuz*
  mkdir -p "$root"/{state,media/ulna,boot/efi,etc/ulna,var/lib/ulna,var/spool/ulna,var/lib/rauc}
  inside "$root" systemd-tmpfiles --create --prefix=/var --prefix=/etc >/dev/null 2>&1 || true
  : >"$root/etc/machine-id"
  rm -f "$root/var/lib/dbus/machine-id"
  ln -s /etc/machine-id "$root/var/lib/dbus/machine-id"
  ln -sf /run/ulna-image/issue "$root/etc/issue"
  ln -sf /run/ulna-image/issue "$root/etc/issue.net"
  : >"$root/etc/motd"
  ln -sf /run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
  ln -sf /state/network/station.network "$root/etc/systemd/network/10-station.network"
  mkdir -p "$root/etc/systemd/timesyncd.conf.d"
  ln -sf /state/time/servers.conf "$root/etc/systemd/timesyncd.conf.d/servers.conf"
  echo ulna >"$root/etc/hostname"
  printf '127.0.0.1 localhost\n127.0.1.1 ulna\n::1 localhost\n' >"$root/etc/hosts"
  # Nobody can log in with a password: none is set, and root's is locked.
  inside "$root" passwd -q -l root
  for unit in ulna-image ulna-verdict ulna-edge ssh systemd-networkd systemd-resolved systemd-timesyncd rauc ${kiosk:+ulna-kiosk}; do
    inside "$root" systemctl -q enable "$unit" 2>/dev/null || echo "unit $unit is not enabled"
  done
  for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    systemd-networkd-wait-online.service systemd-update-done.service grub-common.service grub-initrd-fallback.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
  done
}

# pack_root ROOT FILE
pack_root() {
  rm -f "$2"
  # GRUB reads the kernel out of it, and knows gzip.
  nice mksquashfs "$1" "$2" -comp gzip -b 131072 -no-progress -quiet -e 'tmp/*' 'run/*' 'proc/*' 'sys/*' 'dev/*' -wildcards
}

# make_bundle SQUASHFS BUNDLE
make_bundle() {
  local folder=$out/bundle
  rm -rf "$folder" "$2"
  mkdir -p "$folder"
  ln "$1" "$folder/rootfs.img"
  cat >"$folder/manifest.raucm" <<MANIFEST
[update]
compatible=ulna-arm64
version=$version

[bundle]
format=verity

[image.rootfs]
filename=rootfs.img
MANIFEST
  nice rauc bundle --cert "$cert" --key "$key" "$folder" "$2" >/dev/null
  rm -rf "$folder"
}
