#!/usr/bin/env bash
# run.sh SECONDS [TARGET...]: fuzzes each parser of foreign bytes that long, from the corpus in the repository. New inputs go
# below fuzz/found, findings below fuzz/artifacts: a finding belongs into fuzz/corpus, where `make unit` replays it.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1
shift
if ! cargo fuzz --version >/dev/null 2>&1; then
  echo "SKIP: fuzzing: no cargo-fuzz here (cargo install cargo-fuzz)"
  exit 0
fi
targets=("$@")
if ((${#targets[@]} == 0)); then mapfile -t targets < <(cargo fuzz list); fi
# Safe code needs no sanitizer, and without one the stable compiler does; overflows and assertions count.
options=(-s none --debug-assertions)
cargo fuzz build "${options[@]}"
failed=()
for target in "${targets[@]}"; do
  mkdir -p "fuzz/found/$target"
  log=fuzz/found/$target.log
  if cargo fuzz run "${options[@]}" "$target" "fuzz/found/$target" "fuzz/corpus/$target" -- \
    "-max_total_time=$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 >"$log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf '%-20s %12s runs in %s s, nothing found\n' "$target" "$runs" "$seconds"
  else
    failed+=("$target")
    printf '%-20s FOUND something: %s, fuzz/artifacts/%s\n' "$target" "$log" "$target"
  fi
done
echo "$((${#targets[@]} - ${#failed[@]})) passed, ${#failed[@]} failed"
((${#failed[@]} == 0))
