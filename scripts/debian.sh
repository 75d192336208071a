# Debian's packages, for the scripts that need some; sourced.

root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# debian_install PACKAGE...: installs those that the machine lacks, and says which.
debian_install() {
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "fetching from the distribution: ${missing[*]}"
  root apt-get -o DPkg::Lock::Timeout=600 -qq update
  root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -qq install -y \
    --no-install-recommends "${missing[@]}" >/dev/null
}

# debian_apt ARCHITECTURE FOLDER [COMPONENTS]: points apt (APT_CONFIG) at lists of its own in FOLDER, of one architecture, with nothing
# installed: `apt-get download` and `apt-get install --download-only` then work for a board, and the machine's dpkg learns of
# no foreign architecture. Fails when the mirror's index is stale, with the reason in FOLDER/update.log.
debian_apt() {
  local folder
  mkdir -p "$2"
  folder=$(cd "$2" && pwd)
  mkdir -p "$folder"/{lists/partial,cache/archives/partial,parts}
  : >"$folder/status"
  sed -e "/^Types:/a Architectures: $1" -e "s/^Components: \(.*\)/Components: ${3:-\\1}/" \
    /etc/apt/sources.list.d/debian.sources >"$folder/parts/debian.sources"
  cat >"$folder/apt.conf" <<CONF
APT::Architecture "$1";
APT::Architectures { "$1"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Dir::State::lists "$folder/lists";
Dir::State::status "$folder/status";
Dir::Cache "$folder/cache";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$folder/parts";
CONF
  export APT_CONFIG=$folder/apt.conf
  apt-get -qq update 2>"$folder/update.log"
}

# debian_fetch PACKAGE...: the packages and all that they depend on, as .deb files in the FOLDER/cache/archives of debian_apt.
debian_fetch() {
  apt-get -qq -y --download-only -o Debug::NoLocking=1 install "$@" >/dev/null
}
