#!/usr/bin/env bash
# Rust's standard library for arm64: the demo compiles one entry of its index for a machine that this one is not.
set -euo pipefail
# shellcheck source=tests/setup/say.sh
source "$(dirname "$0")/say.sh"

if compgen -G "$(rustc --print sysroot)/lib/rustlib/aarch64-unknown-linux-*" >/dev/null; then
  say "rust: arm64 is there"
elif command -v rustup >/dev/null && rustup target add aarch64-unknown-linux-musl >/dev/null 2>&1; then
  say "rust: arm64 added"
else
  skip "Rust for arm64 cannot be had; the demo's arm64 entry will hold a stand-in"
fi
