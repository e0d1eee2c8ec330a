#!/bin/sh
# ReVSeg (arXiv 2512.02835) from the data sets to its main tables: selection, GRPO in two turns without SFT, scores.
#
#   runs/revseg.sh             on GPUs, with the data sets in datasets/: see docs/reproduce.md
#   SHAPES=1 runs/revseg.sh    the same steps on the shapes world, on a CPU
#
# GPUS: to train on. DATA: folder of the data sets. OUT: folder of the results. Run again, it resumes.
# With SHAPES: CLIPS and LIMIT, clips to train on and to score; STEPS of GRPO and PROMPTS per step.
set -euf
. "$(dirname "$0")/common.sh"
CHAIN=revseg

if [ -z "${SHAPES:-}" ]; then
    OUT=${OUT:-runs/revseg-7b} BASE=Qwen/Qwen2.5-VL-7B-Instruct
    TRACKER=facebook/sam2.1-hiera-large VIEW="--frames 16 --frame-size 448x448 --closeup-size 840x840"
    TRAIN="refytvos=Ref-YouTube-VOS mevis=MeViS refdavis=Ref-DAVIS17 revos=ReVOS lvvis=LVVIS"
    TESTS="revos reasonvos mevis refdavis refytvos"
    GRPO=""
else
    OUT=${OUT:-runs/shapes-revseg} BASE=shapes-revseg
    TRACKER=flow VIEW="--frames 4 --frame-size 112x112 --closeup-size 224x224" TESTS=shapes
    CLIPS=${CLIPS:-40} # each of their targets is tracked
    shapes_data
    DATA=$OUT/data TRAIN=revos=train
    GRPO="num_frames=4 frame_wh=[112,112] closeup_wh=[224,224] precision=auto data.refytvos=null data.mevis=null
        data.refdavis=null data.lvvis=null data.revos.fps=null prompts_per_step=${PROMPTS:-8} max_new_tokens=400
        epochs=null steps=${STEPS:-6} learning_rate=1e-4 sharding=none"
fi

for one in $TRAIN; do
    name=${one%%=*} root=$DATA/${one#*=}
    step data select "$name" --root "$root" --split train --trackable 0.6 --tracker "$TRACKER" --out "$OUT/$name.json"
    GRPO="$GRPO data.$name.root=$root data.$name.select=$OUT/$name.json"
done
train grpo --config recipes/revseg-7b.yaml --out "$OUT/grpo" $(fields "model.name=$BASE" $GRPO)
score "base=$BASE" "grpo=$OUT/grpo/model"
