#!/usr/bin/env bash
# What is worth knowing of a machine with a GPU, in under ten minutes; its table comes last.
#     benchmarks/gpu_check.sh [PYTHON] [FOLDER FOR THE FIGURES]
set -euo pipefail
cd "$(dirname "$0")/.."
python="${1:-.venv/bin/python}" out="${2:-data/measurements}"
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv
"$python" -m pytest -q -n 0 -p no:cacheprovider --noconftest tests/online/guard/test_watch.py || echo "TESTS FAILED"
"$python" -m benchmarks.guard --shape 7b --device cuda --tokens 128 --rounds 10 --out "$out"
