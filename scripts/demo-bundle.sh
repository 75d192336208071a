#!/usr/bin/env bash
# Makes edge/demo/bundle and edge/demo/studies again from nothing, seeded: phantoms -> a dense network trained
# small -> pruned, trained on small -> fine-tuned at the station's size -> bundle. Up to an hour on 2 cores; WORK names the
# folder that keeps the data and the runs.
set -euo pipefail
cd "$(dirname "$0")/.."

WORK=${WORK:-target/demo-bundle}
TRAINER=${TRAINER:-target/release/trainer}
STUDIES=${STUDIES:-1000}
TRAIN_PX=${TRAIN_PX:-128}
DENSE_EPOCHS=${DENSE_EPOCHS:-3}
SMALL_EPOCHS=${SMALL_EPOCHS:-8}
STATION_PX=${STATION_PX:-320}
STATION_EPOCHS=${STATION_EPOCHS:-1}
MACS=${MACS:-0.25}
SEED=${SEED:-20}
DEVICE=${DEVICE:-auto}

rm -rf "$WORK"
mkdir -p "$WORK"
step() { echo "== $*"; "$@"; }

# Two plain findings: what a network can learn in the minutes it has.
FINDINGS=hardware,lesion
step "$TRAINER" synth --out "$WORK/data" --studies "$STUDIES" --seed "$SEED" --size "$STATION_PX" \
  --findings "$FINDINGS"
# Most of the training is the pruned network's: it takes a quarter of the time of the dense one.
step "$TRAINER" train --data "$WORK/data" --run "$WORK/dense" --size "$TRAIN_PX" --epochs "$DENSE_EPOCHS" \
  --batch 16 --lr 1e-3 --seed "$SEED" --device "$DEVICE"
step "$TRAINER" prune --run "$WORK/dense" --data "$WORK/data" --out "$WORK/small" --macs "$MACS" \
  --size "$TRAIN_PX" --epochs "$SMALL_EPOCHS" --lr 5e-4 --device "$DEVICE"
step "$TRAINER" train --data "$WORK/data" --run "$WORK/station" --init-from "$WORK/small" \
  --size "$STATION_PX" --epochs "$STATION_EPOCHS" --batch 8 --lr 3e-4 --seed "$SEED" --device "$DEVICE"
step "$TRAINER" export --run "$WORK/station" --data "$WORK/data" --out "$WORK/bundle" --size "$STATION_PX" \
  --purpose demo --name ulna-demo --version 1
step "$TRAINER" evaluate --bundle "$WORK/bundle" --data "$WORK/data" --split valid

# Other phantoms than the network has seen, to be replayed.
step "$TRAINER" synth --out "$WORK/replay" --studies 60 --seed $((SEED + 1)) --size "$STATION_PX" \
  --findings "$FINDINGS"

rm -rf edge/demo/bundle edge/demo/studies
mkdir -p edge/demo/studies
cp -r "$WORK/bundle" edge/demo/bundle
python3 - "$WORK/replay" edge/demo/studies <<'PYTHON'
"""Two studies of each type, one normal and one abnormal where there are both; names tell nothing."""
import pathlib, shutil, sys

source, target = map(pathlib.Path, sys.argv[1:])
number = 0
for type_dir in sorted((source / "valid").iterdir()) :
    studies = sorted(study for patient in type_dir.iterdir() for study in patient.iterdir())
    for label in ("positive", "negative"):
        for study in [s for s in studies if s.name.endswith(label)][:1]:
            number += 1
            shutil.copytree(study, target / type_dir.name / f"study{number:02}")
print(f"{number} studies to replay")
assert number >= 8, "too few studies: raise --studies"
PYTHON
du -sh edge/demo/bundle edge/demo/studies
