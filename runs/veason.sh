#!/bin/sh
# Veason-R1 (arXiv 2508.11538) from the data sets to its main tables: chains of thought, SFT, GRPO, scores.
#
#   ANNOTATOR=openai:MODEL@BASE_URL runs/veason.sh    on GPUs, with the data sets in datasets/: see docs/reproduce.md
#   SHAPES=1 runs/veason.sh                           the same steps on the shapes world, on a CPU
#
# SIZE: 3b or 7b. GPUS: to train on; more than one hold the model of GRPO together. DATA: folder of the data sets.
# OUT: folder of the results. Run again, it resumes.
# With SHAPES: CLIPS and LIMIT, clips to train on and to score; STEPS of GRPO and PROMPTS per step.
set -euf
. "$(dirname "$0")/common.sh"
SIZE=${SIZE:-3b} CHAIN=veason

if [ -z "${SHAPES:-}" ]; then
    OUT=${OUT:-runs/veason-$SIZE} BASE=Qwen/Qwen2.5-VL-$(echo "$SIZE" | tr b B)-Instruct
    TRACKER=facebook/sam2.1-hiera-large VIEW="--frames 6 --frame-size 560x560" TESTS="revos reasonvos mevis"
    TRAIN="revos --root $DATA/ReVOS --split train" RL_COUNT=10000
    COT="$TRAIN --fps 6 --select $OUT/rl.json --count 5800 --annotator ${ANNOTATOR:?must be openai:MODEL@BASE_URL}"
    MODEL="" GRPO="data.revos.root=$DATA/ReVOS"
    [ "$GPUS" = 1 ] || GRPO="$GRPO sharding=full"
else
    OUT=${OUT:-runs/shapes-veason} BASE=shapes
    TRACKER=flow VIEW="--frames 4 --frame-size 112x112" TESTS=shapes
    shapes_data
    TRAIN="revos --root $OUT/data/train --split train" RL_COUNT=$CLIPS
    COT="shapes --start 90000000 --pool $CLIPS --count $CLIPS --include-no-target" # written by rules
    MODEL="num_frames=4 frame_wh=[112,112] precision=auto"
    GRPO="data.revos.root=$OUT/data/train data.revos.fps=null tracker=flow prompts_per_step=${PROMPTS:-8} max_new_tokens=400
        epochs=null steps=${STEPS:-6} learning_rate=1e-4"
fi

step data select $TRAIN --count "$RL_COUNT" --out "$OUT/rl.json"
step annotate $COT $VIEW --out "$OUT/cot"
train sft --config "recipes/veason-$SIZE-sft.yaml" --out "$OUT/sft" \
    $(fields "model.name=$BASE" "cot_set=$OUT/cot" $MODEL)
train grpo --config "recipes/veason-$SIZE.yaml" --out "$OUT/grpo" \
    $(fields "model.name=$OUT/sft/model" "data.revos.select=$OUT/rl.json" $MODEL $GRPO)
score "base=$BASE" "sft=$OUT/sft/model" "grpo=$OUT/grpo/model"
