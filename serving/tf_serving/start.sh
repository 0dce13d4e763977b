#!/bin/bash
# Starts TF Serving in its container, with the models.config of `digits label` if there is one, otherwise with the one
# next to this file. TF Serving does not handle SIGTERM (tensorflow/serving#1853), so as the first process of a container
# it would ignore it. This script passes the signal on after DRAIN_SECONDS, when load balancers send no more requests.
set -euo pipefail

configuration=${BASH_SOURCE[0]%/*}
models_config=${MODEL_BASE_PATH:-/models}/models.config
[[ -e $models_config ]] || models_config=$configuration/models.config

case ${BATCHING:-off} in
  off) batching=() ;;
  on) batching=(--enable_batching "--batching_parameters_file=$configuration/batching.config") ;;
  *)
    echo "BATCHING=$BATCHING: expected on or off" >&2
    exit 2
    ;;
esac

trap 'sleep "${DRAIN_SECONDS:-0}"; kill "$!"' TERM INT

tensorflow_model_server \
  --model_config_file="$models_config" \
  --model_config_file_poll_wait_seconds=5 \
  --allow_version_labels_for_unavailable_models \
  --monitoring_config_file="$configuration/monitoring.config" \
  "${batching[@]}" "$@" &

# A signal interrupts the first `wait`, but not the server.
wait "$!" || wait "$!"
