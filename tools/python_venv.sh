#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Makes the environment that the Python tests, examples and benchmarks run in (python/requirements.txt) and prints its
# folder. It lies in the user's cache, one for each set of requirements, and is made whole or not at all. The package
# itself is not in it unless asked for:
#   tools/python_venv.sh --install          builds and installs the package too
#   tools/python_venv.sh --wheel FOLDER     builds its wheel, FOLDER/zenwoq-*.whl, for other environments
#   tools/python_venv.sh --exactly FILE     another environment: what FILE names, and nothing that those packages ask for
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
requirements=$root/python/requirements.txt
pip=(-m pip --disable-pip-version-check)
only_named=()
if [ "${1:-}" = --exactly ]; then
  requirements=$2
  only_named=(--no-deps)
fi

python=$(command -v python3)
"$python" -m venv --help >/dev/null 2>&1 && "$python" -c 'import ensurepip' 2>/dev/null || "$root/tools/install_packages.sh" python3-venv >&2
key=$({ "$python" -VV; cat "$requirements"; } | sha256sum | cut -c1-12)
venv=${XDG_CACHE_HOME:-$HOME/.cache}/zenwoq/python-venv/$key

if [ ! -f "$venv/complete" ]; then
  echo "== making $venv" >&2
  rm -rf "$venv"
  mkdir -p "$(dirname "$venv")"
  "$python" -m venv "$venv" >&2
  "$venv/bin/python" "${pip[@]}" install --quiet "${only_named[@]}" --requirement "$requirements" >&2
  touch "$venv/complete"
fi

# Without isolation: the build needs torch's headers, and torch is here.
built=(--no-deps --no-build-isolation --config-settings=build-dir="$root/build-python" "$root")
case ${1:-} in
  --install) PATH=$venv/bin:$PATH "$venv/bin/python" "${pip[@]}" install --quiet --force-reinstall "${built[@]}" >&2 ;;
  --wheel) PATH=$venv/bin:$PATH "$venv/bin/python" "${pip[@]}" wheel --quiet --wheel-dir="$2" "${built[@]}" >&2 ;;
esac
echo "$venv"
