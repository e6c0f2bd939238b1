#!/usr/bin/env bash
# Relay and worker are built for musl where the target can be had; tests/setup/static-target.sh says which one the build takes.
set -euo pipefail
# shellcheck source=tests/setup/say.sh
source "$(dirname "$0")/say.sh"

command -v cargo >/dev/null || fail "cargo is missing: install Rust 1.88 or newer"
target=$(uname -m)-unknown-linux-musl
if [[ -d $(rustc --print sysroot)/lib/rustlib/$target ]]; then
  say "rust: $target is there"
elif command -v rustup >/dev/null && rustup target add "$target" >/dev/null 2>&1; then
  say "rust: $target added"
else
  skip "$target cannot be had; the relay is linked statically against glibc and needs more memory"
fi
