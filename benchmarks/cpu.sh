#!/usr/bin/env bash
# The table of train and inference steps on a CPU, a small model of every family, ours beside timm's, in turns.
#   bash benchmarks/cpu.sh [OUTPUT]        appends JSON lines to OUTPUT, by default benchmarks/results/cpu.jsonl
# Nothing else may run meanwhile.
set -uo pipefail
cd "$(dirname "$0")/.."
export JAX_PLATFORMS=cpu CUDA_VISIBLE_DEVICES=
python=${PYTHON:-python3}
output=${1:-benchmarks/results/cpu.jsonl}
failed=()
mkdir -p "$(dirname "$output")"
processor=$(grep -m1 '^model name' /proc/cpuinfo | cut -d : -f 2- | xargs)
features=$(grep -m1 '^flags' /proc/cpuinfo | grep -oE 'avx2|avx512f|amx_tile' | xargs)
echo "{\"processor\": \"$processor\", \"features\": \"$features\", \"date\": \"$(date -I)\"}" | tee -a "$output"

row() { # model pixels batch
    for mode in train inference; do
        "$python" benchmarks/train_step.py --model "$1" --image-size "$2" --batch-size "$3" --mode "$mode" \
            --steps 2 --turns 3 --against timm | tee -a "$output" || failed+=("$1 $mode")
    done
}

row vit_tiny_patch16_224 224 16
row deit3_small_patch16_224 224 8
row eva02_tiny_patch14_224 224 8
row convnext_atto 224 16
row convnextv2_atto 224 16
row coatnet_nano_rw_224 224 4
row maxvit_pico_rw_256 256 4
row swinv2_tiny_window8_256 256 4
row swin_tiny_patch4_window7_224 224 4
row efficientnet_b0 224 8
row mobilenetv2_100 224 16
row resnet18 224 16
row resnext50_32x4d 224 4
row regnety_004 224 16
row regnetx_004 224 16
row caformer_s18 224 4
row poolformer_s12 224 8
row beit_base_patch16_224 224 2
row vgg11_bn 224 4
row mobilevit_xs 256 8
row mobilevitv2_050 256 8
row nfnet_l0 224 4
echo "done in ${SECONDS}s: $output; failed: ${failed[*]:-none}" >&2
[ ${#failed[@]} -eq 0 ]
