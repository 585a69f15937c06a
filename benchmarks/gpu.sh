#!/usr/bin/env bash
# The table of train and inference steps on one CUDA machine, ours beside timm's, in one call of at most ten minutes.
#   bash benchmarks/gpu.sh [OUTPUT]        appends JSON lines to OUTPUT, by default benchmarks/results/<device>.jsonl
# Models that do not fit in the time left are named and skipped.
set -uo pipefail
cd "$(dirname "$0")/.."
limit=${LIMIT_SECONDS:-570}
python=${PYTHON:-python3}
device=$("$python" -c "import jax; print(jax.devices()[0].device_kind.replace(' ', '_').lower())")
output=${1:-benchmarks/results/$device.jsonl}
against=$("$python" -c "import timm, torch; print('--against timm' if torch.cuda.is_available() else '')" 2>/dev/null)
mkdir -p "$(dirname "$output")"

row() { # model pixels batch mode
    if [ "$SECONDS" -gt "$limit" ]; then
        echo "skipped, out of time: $*" >&2
        return
    fi
    # shellcheck disable=SC2086
    timeout "$((limit + 30 - SECONDS))" "$python" benchmarks/train_step.py --model "$1" --image-size "$2" \
        --batch-size "$3" --mode "$4" --steps 20 --turns 3 $against | tee -a "$output"
}

row vit_base_patch16_224 224 256 train
row vit_large_patch16_224 224 128 train
row deit3_large_patch16_224 224 128 train
row resnet50 224 256 train
row vit_base_patch16_224 224 256 inference
row vit_large_patch16_224 224 256 inference
row deit3_large_patch16_224 224 256 inference
row resnet50 224 256 inference
row vit_small_patch16_224 224 256 train
row mobilenetv2_100 224 256 train
row efficientnet_b0 224 256 train
echo "done in ${SECONDS}s: $output" >&2
