#!/usr/bin/env python3
"""What a centre's broker has to bear: many stations at one mosquitto, and all of them coming back at once.

usage: scripts/bench-fleet.py [--stations N] [--results-per-minute R] [--seconds S] [--outage S] [--fleet PATH] [--write]

Needs `cargo build -p e2e` and mosquitto. Stations, broker and observer share this machine. Prints a table; --write puts it into
BENCHMARKS.md, section `Fleet`.
"""

import argparse
import json
import os
import subprocess

from benchmarks import ROOT, processor, write_section


def table(report):
    steady, outage, total, memory = (report[part] for part in ("steady", "outage", "total", "memory"))
    latency = steady["latency"]
    rows = [
        ("from the first station's start until all were let in", f"{report['connected_s']:.0f} s"),
        ("results, all messages (with `latest` and health)",
         f"{steady['results_per_s']:.0f}, {steady['messages_per_s']:.0f} a second ({steady['bytes_per_s'] / 1024:.0f} KiB a second)"),
        ("from the end of a study to its arrival: median, 99th percentile, longest",
         f"{latency['median_ms']}, {latency['p99_ms']}, {latency['max_ms']} ms"),
        ("processor: broker, all stations and the observer", f"{100 * steady['broker_cpu']:.0f} %, {100 * steady['stations_cpu']:.0f} % of one core"),
        ("memory of the broker: alone, with all stations, at its peak",
         f"{memory['broker_alone_mib']:.0f}, {memory['broker_connected_mib']:.0f}, {memory['broker_peak_mib']:.0f} MiB"),
        ("memory of the stations: all, at its peak, one (without its model)",
         f"{memory['stations_connected_mib']:.0f}, {memory['stations_peak_mib']:.0f} MiB, {memory['per_station_kib']:.0f} KiB"),
        (f"broker away for {outage['seconds']:.0f} s: results that waited", f"{outage['waiting']}"),
        ("from its start until half, nine tenths, all were back",
         f"{outage['half_back_s']:.1f}, {outage['nine_tenths_back_s']:.1f}, {outage['all_back_s']:.1f} s"),
        ("results made, arrived, lost, arrived again under the same key",
         f"{total['results_made']}, {total['results_arrived']}, {total['results_lost']}, {total['results_repeated']}"),
        ("topics", f"{total['topics']}"),
    ]
    return ["| what | measured |", "|---|---|"] + [f"| {what} | {measured} |" for what, measured in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stations", type=int, default=1000)
    parser.add_argument("--results-per-minute", type=float, default=6)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--outage", type=int, default=20)
    parser.add_argument("--fleet", default=os.path.join(ROOT, "target/debug/fleet"))
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    options = ["--stations", str(chosen.stations), "--results-per-minute", f"{chosen.results_per_minute:g}",
               "--seconds", str(chosen.seconds), "--outage", str(chosen.outage)]
    report = json.loads(subprocess.run([chosen.fleet, *options], check=True, stdout=subprocess.PIPE).stdout)
    text = "\n".join([
        "## Fleet", "",
        f"`scripts/bench-fleet.py {' '.join(options)}`: stations with the real store and publishing code in one process, mosquitto as "
        "`deploy/broker` has it (TLS, a certificate each), an observer, all on one machine; stores in memory; "
        f"{processor()}.", "", *table(report), ""])
    print(text)
    if chosen.write:
        write_section("fleet", text)


main()
