#!/usr/bin/env bash
# On one card, without a network, in at most six minutes: the environment, the tests that need a GPU, one table.
#   benchmarks/gpu.sh [OUT]        OUT: folder of gpu.json, default .
# Takes torch as it finds it; needs no Scipion. On a computer without a GPU: benchmarks/gpu.sh OUT --small
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
OUT=${1:-.}; shift || true
mkdir -p "$OUT"
"$PYTHON" -c 'import torch, lightning_fabric, safetensors, scipy, mrcfile, gemmi, torch_ctf
print("torch", torch.__version__, "cuda", torch.version.cuda, "device",
      torch.cuda.get_device_name() if torch.cuda.is_available() else "none")'
"$PYTHON" -m pytest -q -m gpu cryoemgan/engine/tests/test_gpu.py cryoemgan/engine/tests/test_on_devices.py || [ $? -eq 5 ]
"$PYTHON" -m benchmarks.studies.gpu --json "$OUT/gpu.json" "$@"
