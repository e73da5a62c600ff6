# Sourced by the training scripts: makes the environment (env.sh) and gives `launch`.
#
# Reads  NPROC        processes on this machine, one for each GPU (unset: 1, without torchrun)
#        NNODES       machines (unset: 1)
#        NODE_RANK    which of them this is, from 0
#        MASTER_ADDR  the name of machine 0, and MASTER_PORT (unset: 29500) a port of it that the others reach
EXTRA=train
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

launch() { # launch RECIPE FLAG...: trains after scripts/recipes/RECIPE.yaml; the flags win over it
    local recipe="$ROOT/scripts/recipes/$1.yaml" torchrun=()
    shift
    if [ "${NNODES:-1}" != 1 ]; then
        : "${NODE_RANK:?which machine is this? set NODE_RANK to 0, 1, ...}" "${MASTER_ADDR:?set MASTER_ADDR to the name of machine 0}"
        torchrun=(-m torch.distributed.run --nnodes "$NNODES" --nproc_per_node "${NPROC:-1}" --node_rank "$NODE_RANK"
            --master_addr "$MASTER_ADDR" --master_port "${MASTER_PORT:-29500}")
    elif [ "${NPROC:-1}" != 1 ]; then
        torchrun=(-m torch.distributed.run --standalone --nproc_per_node "$NPROC")
    fi
    exec "$PY" ${torchrun[@]+"${torchrun[@]}"} -m llava_ecg.train --config "$recipe" "$@"
}
