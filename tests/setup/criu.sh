#!/usr/bin/env bash
# criu, which runc needs for checkpoints; some distributions have none.
set -euo pipefail
# shellcheck source=tests/setup/say.sh
source "$(dirname "$0")/say.sh"

if command -v criu >/dev/null; then
  say "criu: there"
elif command -v apt-get >/dev/null && DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends criu >/dev/null 2>&1; then
  say "criu: installed"
else
  skip "criu cannot be had; checkpoints are left out"
fi
