#!/usr/bin/env bash
# Prints the target that relay and worker are built for: musl where its standard library is installed, else glibc.
set -euo pipefail
musl=$(uname -m)-unknown-linux-musl
if [[ -d $(rustc --print sysroot)/lib/rustlib/$musl ]]; then
  echo "$musl"
else
  echo "$(uname -m)-unknown-linux-gnu"
fi
