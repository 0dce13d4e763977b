#!/bin/bash
# Checks that a model is loaded, with bash alone: TF Serving's image has no curl. Arguments: model, REST port.
set -euo pipefail

exec 3<>"/dev/tcp/127.0.0.1/$2"
# The only GET request that succeeds only with a loaded version.
printf 'GET /v1/models/%s/metadata HTTP/1.0\r\n\r\n' "$1" >&3
read -r -t 5 status <&3
[[ $status == HTTP/1.?" 200 "* ]]
