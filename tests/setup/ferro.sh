#!/usr/bin/env bash
# ferro-oci-server: the registry with the Referrers API. Built once, about a minute on a small machine.
set -euo pipefail
# shellcheck source=tests/setup/say.sh
source "$(dirname "$0")/say.sh"
: "${peers:?run setup.sh, which says where the peers lie}"

if [[ -x $peers/bin/ferro-oci-server ]]; then
  say "ferro-oci-server: there"
  exit 0
fi
say "ferro-oci-server: building"
if ! CARGO_TARGET_DIR=$peers/build cargo install -q --locked --version 1.0.0 --root "$peers" ferro-oci-server \
  >"$peers/ferro.log" 2>&1; then
  skip "ferro-oci-server cannot be built ($peers/ferro.log); tests of the Referrers API are left out"
fi
rm -rf "$peers/build"
