#!/usr/bin/env bash
# Signs a command for one station, sends it and waits for the answer. Needs minisign, jq and mosquitto's clients.
#
#   send.sh -k SECRET_KEY -s STATION [-m MINUTES] [-i ID] [-w SECONDS] [-r] COMMAND -- [options of mosquitto_pub and mosquitto_sub]
#
# COMMAND is the JSON of the command, such as '{"name":"ping"}'. -m: minutes until it expires (60). -i: its id (a random
# one); the same command may be sent again under its id. -w: how long to wait for the answer (120). -r: the broker keeps it
# for a station that is away; it is taken back once it is answered. Without -k it is not signed. Prints the
# acknowledgement; ends with 0 for `done`, with 1 for any other, and with 27 when none came in time.
#
#   send.sh -k fleet.key -s clinic-12 '{"name":"ping"}' -- -h broker.example -p 8883 --cafile ca.pem
set -euo pipefail

key='' station='' minutes=60 patience=120 retain='' id="$(tr -dc a-z0-9 </dev/urandom | head -c 16 || true)"
while getopts k:s:m:i:w:r option; do
  case $option in
    k) key=$OPTARG ;;
    s) station=$OPTARG ;;
    m) minutes=$OPTARG ;;
    i) id=$OPTARG ;;
    w) patience=$OPTARG ;;
    r) retain=-r ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ -n "$station" ] && [ $# -ge 1 ] || { sed -n '2,12p' "$0" >&2; exit 2; }
command=$1
shift
[ "${1:-}" != -- ] || shift
broker=("$@")

work=$(mktemp -d)
trap 'kill "$(jobs -p)" 2>/dev/null || true; rm -rf "$work"' EXIT

# What is signed: the station, the id, the expiry and the command, in the bytes of this file.
jq -cnj --arg station "$station" --arg id "$id" --arg at "$(date -u -d "+$minutes minutes" +%Y-%m-%dT%H:%M:%SZ)" \
  --argjson command "$command" '{station: $station, id: $id, expires_at: $at, command: $command}' >"$work/body"
if [ -n "$key" ]; then
  minisign -S -s "$key" -m "$work/body" -x "$work/signature" >&2
  jq -cn --rawfile body "$work/body" --rawfile signature "$work/signature" '{body: $body, signature: $signature}' \
    >"$work/message"
else
  jq -cn --rawfile body "$work/body" '{body: $body}' >"$work/message"
fi

topic="ulna/v1/$station/cmd/$(jq -r .name <<<"$command")/$id"
mosquitto_sub -V 5 -q 1 "${broker[@]}" -t "$topic/ack" -W "$patience" >"$work/acks" &
listener=$!
# The subscription must be there before the answer.
sleep 1
mosquitto_pub -V 5 -q 1 $retain "${broker[@]}" -t "$topic" -f "$work/message"

# `waiting` and `running` are followed by another answer.
while :; do
  answer=$(jq -c 'select(.outcome != "waiting" and .outcome != "running")' "$work/acks" 2>/dev/null | head -n 1 || true)
  [ -z "$answer" ] || break
  kill -0 "$listener" 2>/dev/null || { echo "no answer from $station: it is away, or does not take commands" >&2; exit 27; }
  sleep 0.2
done
# An empty message takes back what the broker keeps.
[ -z "$retain" ] || mosquitto_pub -V 5 -q 1 -r "${broker[@]}" -t "$topic" -n
echo "$answer"
[ "$(jq -r .outcome <<<"$answer")" = done ]
