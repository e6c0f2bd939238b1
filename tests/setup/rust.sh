#!/usr/bin/env bash
# Relay and worker are built for musl where the target can be had; tests/setup/static-target.sh says which one the build takes.
set -euo pipefail
# shellcheck source=tests/setup/say.sh
source "$(dirname "$0")/say.sh"

wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$(dirname "$0")/../../Cargo.toml")
how="install Rust $wanted or newer: https://rustup.rs"
command -v cargo >/dev/null || fail "cargo is missing: $how"
command -v rustc >/dev/null || fail "rustc is missing: $how"
# As `rustc --version` of the toolchain that a build here takes: "rustc 1.89.0 (…)".
found=$(rustc --version | cut -d ' ' -f 2)
oldest=$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)
[[ $oldest == "$wanted" ]] || fail "rustc is $found: $how"
target=$(uname -m)-unknown-linux-musl
if [[ -d $(rustc --print sysroot)/lib/rustlib/$target ]]; then
  say "rust: $target is there"
elif command -v rustup >/dev/null && rustup target add "$target" >/dev/null 2>&1; then
  say "rust: $target added"
else
  skip "$target cannot be had; the relay is linked statically against glibc and needs more memory"
fi
