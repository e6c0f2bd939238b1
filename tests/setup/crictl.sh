#!/usr/bin/env bash
# crictl: by Go where there is one that is new enough, else the one that is installed.
set -euo pipefail
# shellcheck source=tests/setup/say.sh
source "$(dirname "$0")/say.sh"
: "${peers:?run setup.sh, which says where the peers lie}"

if [[ -x $peers/bin/crictl ]] || command -v crictl >/dev/null; then
  say "crictl: there"
  exit 0
fi
minor=$(go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p') || minor=
if [[ -z $minor ]] || ((minor < 24)); then
  skip "crictl needs Go 1.24 or newer; CRI tests are left out"
  exit 0
fi
say "crictl: building"
if ! GOBIN=$peers/bin GOTOOLCHAIN=local go install sigs.k8s.io/cri-tools/cmd/crictl@v1.33.0 >"$peers/crictl.log" 2>&1; then
  skip "crictl cannot be had: $(tail -n 1 "$peers/crictl.log")"
fi
