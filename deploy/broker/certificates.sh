#!/usr/bin/env bash
# The centre's own authority and its certificates, with openssl. README.md has the steps.
set -euo pipefail
umask 077

usage() {
  cat <<'USAGE'
Usage: certificates.sh [--dir DIR] COMMAND

  ca [NAME]           make the authority; NAME is shown as its name [default: Ulna]
  broker HOST...      the broker's certificate for its host names and IP addresses
  station NAME...     one certificate for each station, whose common name is the station's name
  centre NAME...      the same for the centre's programs, whose common name is centre.NAME
  renew NAME...       another key and certificate for the same common name (`broker` for the broker's); the one
                      in use stays valid until it ends
  revoke NAME...      revoke every certificate of a common name; give crl.pem to the broker and reload it
  list                every certificate: its common name, its end, whether it is revoked

DIR [default: ulna-ca] holds the authority's key: keep it apart from the broker, and back it up. Certificates and
keys lie in DIR/broker, DIR/stations and DIR/centre. Nothing that is there is overwritten.
USAGE
}

fail() {
  echo "certificates.sh: $*" >&2
  exit 1
}

# Browsers refuse a server's certificate that is valid for longer than 825 days.
AUTHORITY_DAYS=3650 BROKER_DAYS=825 CLIENT_DAYS=730
# A machine whose clock is a little behind must not find a new certificate to be not yet valid.
BACKDATE='1 day ago'
# Clients look at the host names; the space keeps it apart from every station's name.
BROKER_NAME='Ulna broker'

at() { date -u -d "$1" +%Y%m%d%H%M%SZ; }

openssl_quietly() {
  local said
  said=$(openssl "$@" 2>&1) || fail "openssl $1 failed: $said"
}

new_key() { openssl_quietly genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

# The revocation list is a file that is put into place by hand, so it does not end before the authority.
write_settings() {
  cat >openssl.cnf <<SETTINGS
[ca]
default_ca = authority
[authority]
dir = .
certificate = ca.pem
private_key = ca.key
database = index.txt
serial = serial
crlnumber = crlnumber
new_certs_dir = issued
default_md = sha256
default_crl_days = $AUTHORITY_DAYS
unique_subject = no
policy = any_name
[any_name]
commonName = supplied
[req]
distinguished_name = any_name
[ca_certificate]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[broker_certificate]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = \$ENV::NAMES
[client_certificate]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
SETTINGS
}

write_crl() {
  openssl_quietly ca -config openssl.cnf -gencrl -out crl.pem.new
  mv crl.pem.new crl.pem
  chmod 644 crl.pem
}

make_authority() {
  local name=${1:-Ulna}
  [[ $name =~ ^[A-Za-z0-9\ .-]{1,64}$ ]] || fail "\`$name\` cannot be the authority's name: letters, digits, spaces, dots and hyphens only"
  mkdir -p "$dir" && cd "$dir"
  [ ! -e ca.key ] || fail "there is an authority in $dir already; give another --dir"
  mkdir -p issued broker stations centre
  write_settings
  : >index.txt
  openssl rand -hex 16 >serial
  echo 01 >crlnumber
  new_key ca.key.new
  openssl_quietly req -config openssl.cnf -new -key ca.key.new -subj "/CN=$name" -out ca.csr
  openssl_quietly ca -config openssl.cnf -batch -notext -selfsign -keyfile ca.key.new -in ca.csr \
    -extensions ca_certificate -startdate "$(at "$BACKDATE")" -enddate "$(at "$AUTHORITY_DAYS days")" -out ca.pem
  rm ca.csr
  mv ca.key.new ca.key
  chmod 644 ca.pem
  write_crl
  echo "$dir/ca.pem: the authority $name"
}

# issue PATH COMMON_NAME EXTENSIONS DAYS: PATH.key and PATH.pem.
issue() {
  local path=$1 name=$2 extensions=$3 days=$4
  rm -f "$path.key.new" "$path.pem.new" "$path.csr"
  new_key "$path.key.new"
  openssl_quietly req -config openssl.cnf -new -key "$path.key.new" -subj "/CN=$name" -out "$path.csr"
  openssl_quietly ca -config openssl.cnf -batch -notext -in "$path.csr" -extensions "$extensions" \
    -startdate "$(at "$BACKDATE")" -enddate "$(at "$days days")" -out "$path.pem.new"
  rm "$path.csr"
  mv "$path.key.new" "$path.key"
  mv "$path.pem.new" "$path.pem"
  chmod 644 "$path.pem"
  echo "$dir/$path.pem and .key: $name, until $(openssl x509 -in "$path.pem" -noout -enddate | cut -d= -f2)"
}

refuse_to_overwrite() {
  [ ! -e "$1.key" ] && [ ! -e "$1.pem" ] || fail "$dir/$1.pem or .key is there already; \`renew\` makes another"
}

# Sets `path`, `common_name`, for a name as it is given to `renew` and `revoke`.
find_name() {
  case $1 in
    broker) path=broker/broker common_name=$BROKER_NAME ;;
    centre.*) check_name "${1#centre.}" && path=centre/${1#centre.} common_name=$1 ;;
    *) check_name "$1" && path=stations/$1 common_name=$1 ;;
  esac
  [ -e "$path.pem" ] || fail "there is no certificate of \`$1\` in $dir"
}

# As the station itself checks its name. `broker` stands for the broker.
check_name() {
  [ "$1" != broker ] || fail "no station or program can be called broker"
  [[ $1 =~ ^[a-z0-9-]{1,64}$ ]] || fail "\`$1\` is not a name: 1 to 64 lower-case letters, digits and hyphens, such as clinic-12"
}

alternative_names() {
  local names=() host
  for host in "$@"; do
    if [[ $host =~ ^[0-9.]+$ || $host == *:* ]]; then names+=("IP:$host"); else
      [[ $host =~ ^[A-Za-z0-9.-]+$ ]] || fail "\`$host\` is neither a host name nor an address"
      names+=("DNS:$host")
    fi
  done
  (IFS=,; echo "${names[*]}")
}

make_broker() {
  [ $# -gt 0 ] || fail "name the hosts by which the broker is reached"
  refuse_to_overwrite broker/broker
  alternative_names "$@" >broker/names
  NAMES=$(cat broker/names) issue broker/broker "$BROKER_NAME" broker_certificate $BROKER_DAYS
}

make_clients() {
  local folder=$1 prefix=$2 name
  shift 2
  [ $# -gt 0 ] || fail "give one name or more"
  for name in "$@"; do check_name "$name" && refuse_to_overwrite "$folder/$name"; done
  for name in "$@"; do issue "$folder/$name" "$prefix$name" client_certificate $CLIENT_DAYS; done
}

renew() {
  local name path common_name
  [ $# -gt 0 ] || fail "give one name or more"
  for name in "$@"; do
    find_name "$name"
    if [ "$name" = broker ]; then
      NAMES=$(cat broker/names) issue "$path" "$common_name" broker_certificate $BROKER_DAYS
    else
      issue "$path" "$common_name" client_certificate $CLIENT_DAYS
    fi
  done
}

revoke() {
  local name path common_name serial
  [ $# -gt 0 ] || fail "give one name or more"
  for name in "$@"; do
    find_name "$name"
    for serial in $(awk -F '\t' -v cn="/CN=$common_name" '$1 == "V" && $6 == cn { print $4 }' index.txt); do
      openssl_quietly ca -config openssl.cnf -revoke "issued/$serial.pem"
      echo "revoked: $common_name, serial $serial"
    done
    rm "$path.pem" "$path.key"
  done
  write_crl
  echo "give $dir/crl.pem to the broker"
}

list() {
  awk -F '\t' '{
    # Two digits are the year up to 2049, four from 2050 on.
    end = length($2) == 13 ? "20" $2 : $2
    state = $1 == "R" ? "revoked" : "until " substr(end, 1, 4) "-" substr(end, 5, 2) "-" substr(end, 7, 2)
    printf "%-40s %-18s serial %s\n", substr($6, 5), state, $4
  }' index.txt
}

# Of no meaning where no broker's certificate is made, but openssl wants to know it.
export NAMES=DNS:none
dir=ulna-ca
if [ "${1:-}" = --dir ]; then
  dir=${2:?certificates.sh: --dir needs a folder}
  shift 2
fi
command=${1:-}
[ $# -eq 0 ] || shift
case $command in
  ca) make_authority "$@" && exit ;;
  broker | station | centre | renew | revoke | list) ;;
  *) usage && exit 2 ;;
esac
[ -e "$dir/ca.key" ] || fail "there is no authority in $dir; make one with \`ca\`"
cd "$dir"
# Two at a time would give out the same serial number.
exec 9>lock
flock 9
case $command in
  broker) make_broker "$@" ;;
  station) make_clients stations '' "$@" ;;
  centre) make_clients centre centre. "$@" ;;
  renew) renew "$@" ;;
  revoke) revoke "$@" ;;
  list) list ;;
esac
