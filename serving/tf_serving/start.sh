#!/bin/bash
# Starts TF Serving in its container: with the labels of `digits label` where there are any, else with models.config
# beside this file. TF Serving has no handler for SIGTERM (tensorflow/serving#1853), which as the first process of a
# container it would never notice; here it gets it DRAIN_SECONDS later, when no load balancer sends requests any more.
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

# A signal ends the first `wait`, but not the server.
wait "$!" || wait "$!"
