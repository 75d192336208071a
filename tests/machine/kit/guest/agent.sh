#!/bin/sh
# Serves the test outside: reads commands from the virtio port, one line of base64 each, and answers each with its exit
# status and its output, base64 too, in one line.
port=
while [ -z "$port" ]; do
    for name in /sys/class/virtio-ports/*/name; do
        [ -e "$name" ] && [ "$(cat "$name")" = machine.agent ] && port=/dev/$(basename "$(dirname "$name")")
    done
    [ -n "$port" ] && [ -e "$port" ] || { port=; sleep 0.2; }
done
exec 3<>"$port"
said=$(mktemp)
echo ready >&3
while true; do
    read -r line <&3 || { sleep 0.2; continue; }
    printf %s "$line" | base64 -d >"$said.sh"
    sh "$said.sh" >"$said" 2>&1 </dev/null 3>&-
    status=$?
    { printf '%s ' "$status"; base64 -w0 <"$said"; echo; } >&3
done
