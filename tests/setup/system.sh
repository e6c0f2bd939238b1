#!/usr/bin/env bash
# Installs the missing tools of the build, and unless for the `demo` of the tests, from the distribution. A tool counts as there
# when the command or file is.
set -euo pipefail
# shellcheck source=tests/setup/say.sh
source "$(dirname "$0")/say.sh"

missing=()
command -v cc >/dev/null || missing+=(gcc libc6-dev)
[[ -e /usr/include/stdio.h ]] || missing+=(libc6-dev)
command -v make >/dev/null || missing+=(make)
command -v protoc >/dev/null || missing+=(protobuf-compiler)
[[ -e /usr/include/google/protobuf/empty.proto ]] || missing+=(libprotobuf-dev)
command -v gzip >/dev/null || missing+=(gzip)
command -v ip >/dev/null || missing+=(iproute2)
command -v nsenter >/dev/null || missing+=(util-linux)
command -v mount >/dev/null || missing+=(mount)
command -v shellcheck >/dev/null || missing+=(shellcheck)
if [[ ${1:-all} != demo ]]; then
  # Makes the keyless signatures of the tests.
  python3 -c 'import cryptography' 2>/dev/null || missing+=(python3-cryptography)
fi

if ((${#missing[@]} == 0)); then
  say "system tools: all there"
  exit 0
fi
command -v apt-get >/dev/null || fail "missing: ${missing[*]}; there is no apt-get here, install them by hand"
[[ $(id -u) == 0 ]] || fail "missing: ${missing[*]}; installing them needs root"
say "system tools: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || {
  say "system tools: reading the package lists first"
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
