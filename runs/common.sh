# Steps that the scripts of this folder share. They read it after a line that sets `set -euf`.
#
# DATA: folder of the data sets. OUT: folder of the results. GPUS: of this machine, to train on.

cd "$(dirname "$0")/.."
PATH="$PATH:$PWD/.venv/bin"
DATA=${DATA:-datasets} GPUS=${GPUS:-1}

shown() {
    printf '\n$ %s\n' "$*"
    "$@"
}

step() {
    shown thinkseg "$@"
}

# Trains with one process per GPU.
train() {
    if [ "$GPUS" = 1 ]; then
        step train "$@"
    else
        shown torchrun --nproc-per-node "$GPUS" -m thinkseg train "$@"
    fi
}

# The option of each FIELD=VALUE.
fields() {
    for field; do echo "--set $field"; done
}

# Writes clips to train on and to score, in the layout of ReVOS.
shapes_data() {
    CLIPS=${CLIPS:-100} LIMIT=${LIMIT:-40}
    shapes_tree train --start 90000000 --count "$CLIPS" --questions 3
    shapes_tree val --count "$LIMIT"
}

shapes_tree() {
    [ -d "$OUT/data/$1" ] || step data shapes --split "$@" --out "$OUT/data/$1"
}

# The data set to score for a name. ReVOS, ReasonVOS and MeViS have frames without times: 6 per second is a convention.
test_set() {
    case $1 in
    shapes) echo "revos --root $OUT/data/val" ;;
    revos) echo "revos --root $DATA/ReVOS --split valid --fps 6" ;;
    reasonvos) echo "reasonvos --root $DATA/ReasonVOS --fps 6" ;;
    mevis) echo "mevis --root $DATA/MeViS --split valid_u --fps 6" ;;
    refdavis) echo "refdavis --root $DATA/Ref-DAVIS17" ;;
    refytvos) echo "refytvos --root $DATA/Ref-YouTube-VOS" ;;
    esac
}

# Scores the policies NAME=POLICY on all of $TESTS, and compares each with the first.
score() {
    for test in $TESTS; do
        for policy; do
            scores=$OUT/scores/$test/${policy%%=*}
            step evaluate $(test_set "$test") --policy "${policy#*=}" --chain "$CHAIN" --tracker "$TRACKER" $VIEW --out "$scores"
        done
        for policy; do
            scores=$OUT/scores/$test/${policy%%=*}
            case $test in
            refytvos) step submit $(test_set "$test") --predictions "$scores" --out "$scores.zip" ;; # has no public masks
            *) [ "$policy" = "$1" ] || step compare "$OUT/scores/$test/${1%%=*}" "$scores" --top 0 ;;
            esac
        done
    done
}
