# shellcheck shell=bash
# Sourced: one line per step, so that nobody waits in front of a silent terminal.
say() { printf '==> %s\n' "$*"; }
skip() { printf 'SKIP: %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
