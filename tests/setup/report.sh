#!/usr/bin/env bash
# Says what was found and what is missing.
set -euo pipefail
# shellcheck source=tests/setup/say.sh
source "$(dirname "$0")/say.sh"
: "${peers:?run setup.sh, which says where the peers lie}"

say "found:"
for have in "$peers"/*/have/*; do
  if [[ -e $have ]]; then printf '    %s\n' "$(cat "$have")"; fi
done
for tool in ferro-oci-server criu crictl; do
  if [[ -x $peers/bin/$tool ]]; then say "found $tool"; else say "missing: $tool"; fi
done
for tool in bookworm/containerd trixie/containerd forky/containerd bookworm/runc bookworm/docker-registry trixie/oras forky/crane; do
  [[ -e $peers/${tool%/*}/have/${tool#*/} ]] || printf '    missing: %s of %s\n' "${tool#*/}" "${tool%/*}"
done
