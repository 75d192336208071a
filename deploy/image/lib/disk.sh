# The disk: partitions, the boot loader, the first system; sourced by build.sh.
SECTORS_MIB=2048
ESP_MIB=256 ROOT_MIB=1024
GRUB_MODULES='part_gpt part_msdos fat squash4 gzio normal configfile linux echo test true regexp loadenv reboot halt sleep minicmd'

# fetch_unpacked PACKAGE FOLDER: one package's files, with nothing that it depends on, once. A Raspberry Pi's firmware is in
# non-free-firmware.
fetch_unpacked() (
  [ ! -e "$2/.$1" ] || return 0
  debian_apt arm64 "$out/apt" "main non-free-firmware" || fail "no list of arm64 packages: $(cat "$out/apt/update.log")"
  mkdir -p "$out/debs" "$2"
  cd "$out/debs"
  rm -f "$1"_*.deb
  apt-get -qq download "$1"
  dpkg -x "$1"_*.deb "$2"
  touch "$2/.$1"
)

# make_disk SQUASHFS IMAGE
make_disk() {
  local squashfs=$1 image=$2 a=$((1 + ESP_MIB)) b
  b=$((a + ROOT_MIB))
  [ "$(stat -c %s "$squashfs")" -lt $((ROOT_MIB * 1048576)) ] || fail "the system is larger than its partition ($ROOT_MIB MiB)"
  fetch_unpacked grub-efi-arm64-bin "$out/grub"
  rm -f "$image"
  truncate -s "${size_gib}G" "$image"
  sfdisk -q "$image" <<TABLE
label: gpt
start=$SECTORS_MIB, size=$((ESP_MIB * SECTORS_MIB)), type=uefi, name=ulna-esp
start=$((a * SECTORS_MIB)), size=$((ROOT_MIB * SECTORS_MIB)), type=linux, name=ulna-a
start=$((b * SECTORS_MIB)), size=$((ROOT_MIB * SECTORS_MIB)), type=linux, name=ulna-b
start=$(((b + ROOT_MIB) * SECTORS_MIB)), type=linux, name=ulna-state
TABLE
  dd if="$squashfs" of="$image" bs=1M seek=$a conv=notrunc,sparse status=none
  make_esp "$out/esp.img"
  dd if="$out/esp.img" of="$image" bs=1M seek=1 conv=notrunc,sparse status=none
  rm "$out/esp.img"
}

make_esp() {
  local esp=$1 files=$out/esp
  rm -rf "$files" "$esp"
  mkdir -p "$files/EFI/BOOT" "$files/EFI/ulna"
  # shellcheck disable=SC2086 # a list of modules
  grub-mkimage -O arm64-efi -d "$out/grub/usr/lib/grub/arm64-efi" -p /EFI/ulna -o "$files/EFI/BOOT/BOOTAA64.EFI" $GRUB_MODULES
  cp "$here/boot/grub.cfg" "$files/EFI/ulna/"
  grub-editenv "$files/EFI/ulna/grubenv" create
  grub-editenv "$files/EFI/ulna/grubenv" set ORDER='A B' A_OK=1 A_TRY=0 B_OK=0 B_TRY=0
  if [ "$board" = rpi4 ]; then add_raspberry_firmware "$files"; fi
  truncate -s ${ESP_MIB}M "$esp"
  mkfs.vfat -F 32 -n ULNA-ESP "$esp" >/dev/null
  mcopy -s -i "$esp" "$files"/* ::/
  rm -rf "$files"
}

# What a Raspberry Pi 4 needs before there is UEFI: its firmware (of Debian's non-free-firmware), the kernel's device tree, U-Boot.
add_raspberry_firmware() {
  local at=$out/rpi4
  fetch_unpacked u-boot-rpi "$at"
  fetch_unpacked raspi-firmware "$at"
  cp "$at"/usr/lib/raspi-firmware/{start4.elf,fixup4.dat} "$at/usr/lib/u-boot/rpi_4/u-boot.bin" "$here/boot/config.txt" "$1/"
  mkdir -p "$1/overlays"
  cp "$at"/usr/lib/raspi-firmware/overlays/disable-bt.dtbo "$1/overlays/" 2>/dev/null || sed -i /disable-bt/d "$1/config.txt"
  cp "$out"/root/usr/lib/linux-image-*/broadcom/bcm2711-rpi-4-b.dtb "$1/"
}
