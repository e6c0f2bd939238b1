#!/usr/bin/env bash
# Installs what the build needs from the distribution, and unpacks the peers of the end-to-end tests below target/peers.
# `setup.sh demo` leaves out what only the tests need. Does only what is missing, upgrades nothing, and needs no network
# when everything is there.
set -euo pipefail
scope=${1:-all}
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
peers=${BESTFIT_PEERS:-$repo/target/peers}
export peers
# shellcheck source=tests/setup/say.sh
source "$here/say.sh"

mkdir -p "$peers/bin"
"$here/system.sh" "$scope"
"$here/rust.sh"
"$here/debian.sh" bookworm containerd runc docker-registry busybox
if [[ $scope == demo ]]; then
  "$here/debian.sh" trixie oras
  "$here/debian.sh" forky cosign
  "$here/distribution.sh"
  "$here/arm64.sh"
  exit 0
fi
"$here/debian.sh" trixie containerd oras
"$here/debian.sh" forky containerd crane oras containernetworking-plugins cosign notation
"$here/distribution.sh"
"$here/ferro.sh"
"$here/archspec.sh"
"$here/criu.sh"
"$here/go.sh" crictl
"$here/report.sh"
