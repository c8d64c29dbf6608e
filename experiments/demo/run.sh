#!/bin/sh
# The demo: one pretext and its references on the toy world, three seeds each, from rendering to report.
# Two queues, one a core; run again, each step goes on where it stopped or says that it is done.
set -e
export OMP_NUM_THREADS=1
OUT=outputs/demo
SEEDS=0,1,2

pretrain() { ssv pretrain -m "+experiment=demo_$1" "outputs=$OUT" "seed=$SEEDS" 2>&1 | cat; }

runs() { # runs PRETEXT: its three run folders, as Hydra lists them
    echo "$OUT/$1-r3d_tiny-toy-demo-s0,$OUT/$1-r3d_tiny-toy-demo-s1,$OUT/$1-r3d_tiny-toy-demo-s2"
}

evaluate() { # evaluate EVALUATION PRETEXT
    if [ "$2" = random ]; then
        set -- "$1" weights=random backbone=r3d_tiny "seed=$SEEDS"
    else
        set -- "$1" "weights=$(runs "$2")"
    fi
    recipe=$1
    shift
    ssv evaluate -m "+experiment=demo_$recipe" "outputs=$OUT" "$@" 2>&1 | cat
}

first() {
    pretrain speed
    evaluate linear_probe speed_prediction
    evaluate fine_tune speed_prediction
}

second() {
    pretrain supervised
    pretrain single_frame
    evaluate linear_probe random
    evaluate linear_probe supervised
    evaluate linear_probe single_frame
    evaluate fine_tune random
}

ssv toy
# A shell waits for a background job's exit code only when asked to by number.
first &
one=$!
second &
two=$!
wait $one
wait $two
ssv compare "outputs=$OUT"
