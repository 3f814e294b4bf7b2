#!/usr/bin/env bash
# Every figure that needs an NVIDIA GPU, in under ten minutes, without a network.
#
#     benchmarks/gpu.sh                      writes ./gpu-out
#     OUT=folder BUNDLES=folder PYTHON=python3 benchmarks/gpu.sh
#
# Each section runs independently: one that fails or is missing is noted and the others continue.
# Bundles (paper64.segan, big1024.segan) are built with random weights unless BUNDLES holds them.
# Exit status: 0 when a backend was measured on the GPU, 1 when none was, 2 when OUT cannot be used.
#
# Relative folders are the caller's. OUT must be new, empty or of an earlier run, which has left the
# file gpu-benchmark there: that run's results are removed.
set -uo pipefail
here=$PWD
# place PATH: the path, from the caller's folder.
place() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s' "$here/$1" ;; esac; }
OUT=$(place "${OUT:-gpu-out}")
if [ -n "${BUNDLES:-}" ]; then BUNDLES=$(place "$BUNDLES"); fi
if [ -n "${SEGAN_CACHE:-}" ]; then SEGAN_CACHE=$(place "$SEGAN_CACHE"); fi
case ${PYTHON:-} in */*) PYTHON=$(place "$PYTHON") ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
LIMIT=${LIMIT:-570}  # seconds for everything
mkdir -p "$OUT" || exit 2
if [ ! -f "$OUT/gpu-benchmark" ] && [ -n "$(ls -A "$OUT")" ]; then
  echo "$OUT holds files that are not of this benchmark; name a new or empty folder in OUT." >&2
  exit 2
fi
: >"$OUT/gpu-benchmark" || exit 2
for name in nvidia-smi doctor gpu ceilings {bundle,engines,benchmark,torch}{64,1024} summary; do
  rm -f "$OUT/$name.log" "$OUT/$name.json"
done
rm -f "$OUT/summary.txt"
BUNDLES=${BUNDLES:-$OUT/bundles}
export PYTHONUNBUFFERED=1 SEGAN_CACHE=${SEGAN_CACHE:-$OUT/cache}
# From a checkout that is not installed, .src shows the rooms as the package segan.
"$PYTHON" -c 'import segan.runtime' 2>/dev/null || export PYTHONPATH="$PWD/.src:${PYTHONPATH:-}"
results=$OUT/sections.txt
: >"$results"

# section NAME SECONDS COMMAND...: runs it with a limit, keeps its output as NAME.log.
section() {
  local name=$1 seconds=$2 left=$((LIMIT - SECONDS)) start=$SECONDS status
  shift 2
  if [ "$left" -lt 5 ]; then
    echo "$name|skipped|0|no time left" >>"$results"
    return 1
  fi
  printf '== %s\n' "$name"
  timeout --kill-after=5 $((seconds < left ? seconds : left)) "$@" >"$OUT/$name.log" 2>&1
  status=$?
  case $status in
    0) echo "$name|ok|$((SECONDS - start))|" ;;
    124 | 137) echo "$name|failed|$((SECONDS - start))|stopped at its limit of time" ;;
    *) echo "$name|failed|$((SECONDS - start))|$(tail -n 1 "$OUT/$name.log" | cut -c 1-300)" ;;
  esac >>"$results"
  return "$status"
}
gpu() { section "$1" "$2" "$PYTHON" benchmarks/gpu.py "${@:3}"; }
measure() {  # NAME SECONDS BUNDLE BATCHES
  if [ ! -e "$3/manifest.json" ]; then
    echo "$1|skipped|0|there is no $3" >>"$results"
    return 1
  fi
  section "$1" "$2" "$PYTHON" -m segan.cli.main benchmark "$3" --backends tensorrt,cuda \
    --precisions fp16,fp32 --batches "$4" --seconds 1 --rounds 3 -o "$OUT/$1.json"
}

section nvidia-smi 20 nvidia-smi
# Standard output alone is JSON.
section doctor 60 bash -c '"$0" -m segan.cli.main doctor --json >"$1"' "$PYTHON" "$OUT/doctor.json"
if section gpu 20 "$PYTHON" -c '
import sys
from segan.runtime.machine.gpus import cuda_devices, why_no_gpu
print(*cuda_devices(), sep="\n")
sys.exit(why_no_gpu())'; then
  gpu ceilings 40 ceilings "$OUT/ceilings.json"
  mkdir -p "$BUNDLES"
  [ -e "$BUNDLES/paper64.segan/manifest.json" ] ||
    gpu bundle64 60 bundle 64 "$BUNDLES/paper64.segan"
  [ -e "$BUNDLES/paper64.segan/manifest.json" ] &&
    gpu engines64 60 load "$BUNDLES/paper64.segan" "$OUT/engines64.json"
  measure benchmark64 110 "$BUNDLES/paper64.segan" 1,64,512
  gpu torch64 70 pytorch 64 1,64,512 "$OUT/torch64.json"
  [ -e "$BUNDLES/big1024.segan/manifest.json" ] ||
    gpu bundle1024 120 bundle 1024 "$BUNDLES/big1024.segan"
  [ -e "$BUNDLES/big1024.segan/manifest.json" ] &&
    gpu engines1024 120 load "$BUNDLES/big1024.segan" "$OUT/engines1024.json"
  measure benchmark1024 120 "$BUNDLES/big1024.segan" 1,8,32
  gpu torch1024 90 pytorch 1024 1,8,32 "$OUT/torch1024.json"
fi
"$PYTHON" benchmarks/gpu.py summary "$OUT"
