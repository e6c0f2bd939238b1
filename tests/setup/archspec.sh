#!/usr/bin/env bash
# archspec, the Python package: what our detection of microarchitectures is held against (`make peers PEERS=archspec`).
set -euo pipefail
# shellcheck source=tests/setup/say.sh
source "$(dirname "$0")/say.sh"
: "${peers:?run setup.sh, which says where the peers lie}"
version=0.2.7
dir=$peers/archspec

if [[ -e $dir/archspec-$version.dist-info ]]; then
  say "archspec: there"
  exit 0
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
  skip "archspec: no Python 3 with pip here; the comparison with archspec is left out"
  exit 0
fi
say "archspec: fetching"
if ! python3 -m pip install -q --no-deps --upgrade --target "$dir" "archspec==$version" >"$peers/archspec.log" 2>&1; then
  skip "archspec cannot be had ($peers/archspec.log); the comparison with it is left out"
fi
