#!/usr/bin/env bash
# All that is to be known of an accelerator, the most important first; results appear as they come.
#
#   pip install -e ".[cuda,bench]"
#   bash launch/accelerator.sh OUT [DATA_DIR]
#
# OUT/check    one epoch of digits here and on the CPU, and how far they are apart
# OUT/bench    training against peers and the floor, at 1, 16 and 64 seeds
# OUT/predict  what the whole paper would take
# OUT/runs     the paper's configurations, five seeds each, as far as the time goes
set -uo pipefail
if [ $# -lt 1 ]; then
  echo "usage: bash launch/accelerator.sh OUT [DATA_DIR]" >&2
  exit 2
fi
mkdir -p "$1/check" "$1/bench"
out=$(realpath "$1")
data=()
if [ $# -ge 2 ]; then data=("--data_dir=$(realpath "$2")"); fi
cd "$(dirname "$0")/.."
failed=0

for model in vae mvae; do
  digits="--config=configs/digits.py:$model,16 --config.num_epochs=1 --config.matmul_precision=highest"
  JAX_PLATFORMS=cpu python -m mvae_jax.main $digits --workdir="$out/check/cpu-$model"
  python -m mvae_jax.main $digits --workdir="$out/check/here-$model"
  python launch/compare_runs.py "$out/check/cpu-$model" "$out/check/here-$model" |
    tee "$out/check/$model.txt" || failed=1
done

for latent in 16 512; do
  python launch/bench.py --latent=$latent --pixels=784 --seeds=1,16,64 --steps=500 --repeats=5 \
    --out="$out/bench/784-z$latent.json" | tee "$out/bench/784-z$latent.txt"
done
python -m mvae_jax.sweep.predict | tee "$out/predict.txt"
python -m mvae_jax.sweep.reproduce --num_seeds=5 --root="$out/runs" "${data[@]}" || failed=1
exit $failed
