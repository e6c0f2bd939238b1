#!/usr/bin/env bash
# go.sh crictl | containerd: programs that no Debian release has, built from their modules. crictl takes about two minutes on
# a small machine, containerd (the first line whose shims are answered in protobuf) four.
set -euo pipefail
# shellcheck source=tests/setup/say.sh
source "$(dirname "$0")/say.sh"
: "${peers:?run setup.sh, which says where the peers lie}"

case $1 in
  crictl)
    bin=$peers/bin
    programs=(crictl)
    module=sigs.k8s.io/cri-tools/cmd version=v1.34.0
    ;;
  containerd)
    bin=$peers/go/root/usr/bin
    programs=(containerd ctr containerd-shim-runc-v2)
    module=github.com/containerd/containerd/v2/cmd version=v2.3.7
    ;;
  *) fail "$0: what is $1?" ;;
esac

if [[ -x $bin/${programs[0]} ]]; then
  say "$1: there"
  exit 0
fi
if ! command -v go >/dev/null; then
  skip "$1: no Go here to build it with; tests that need it are left out"
  exit 0
fi
packages=("${programs[@]/#/$module/}")
packages=("${packages[@]/%/@$version}")
say "$1: building $version"
mkdir -p "$bin"
if ! GOBIN=$(realpath "$bin") GOFLAGS=-mod=mod CGO_ENABLED=0 go install -ldflags '-s -w' \
  "${packages[@]}" >"$peers/$1.log" 2>&1; then
  skip "$1 cannot be built ($peers/$1.log); tests that need it are left out"
fi
