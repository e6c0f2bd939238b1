#!/usr/bin/env bash
# mutants.sh [NAME...]: shows that scenarios can fail. Each tests/mutants/NAME.patch takes one check out of the code as it was
# committed; with it, the scenarios that its head names must fail, by the words that it names, on one line of containerd.
# First all of them must pass without any patch. The head, before the diff:
#
#   row: the row of the attack table (or what else is promised)
#   fails: the scenario => words of its failure
#
# Ends with 1 where a scenario still passes or fails by other words, a patch does not apply or compile, or, without NAMEs, where a
# scenario about trust is named by no patch. The scratch tree stays, without a patch, and what was built of it: the next run is
# faster.
set -euo pipefail
cd "$(dirname "$0")/../.."
line='containerd 2.1'
# Seconds that one build, and one run of scenarios, may take.
limit=1800
work=$PWD/target/mutants
tree=$work/tree
bin=$work/build/debug
patches=("$@")
all=
if ((${#patches[@]} == 0)); then
  all=yes
  mapfile -t patches < <(basename -s .patch tests/mutants/*.patch)
fi

in_tree() { git -C "$tree" "$@"; }
clean() { in_tree checkout -q -- . 2>/dev/null || true; }
trap clean EXIT

# Builds the programs of the scratch tree; incrementally, as each patch changes a line or two.
build() {
  (cd "$tree" && CARGO_TARGET_DIR=$work/build CARGO_INCREMENTAL=1 timeout "$limit" cargo build -q \
    -p bestfit-cli -p bestfit-decider -p bestfit-worker -p bestfit-relay)
}

# Runs scenarios with what was built; all they say goes to a file.
scenarios() {
  local log=$1
  shift
  BESTFIT_BIN=$bin timeout "$limit" cargo test -q -p bestfit-tests --test e2e -- "${@/#/$line: }" >"$log" 2>&1 || true
}

# What a log says about a scenario, from its first line to the next scenario's.
said() {
  awk -v name="$2" '
    /^(  (ok|FAIL|AGAIN|SKIP)|$)/ { on = index($0, name) && substr($0, length($0) - length(name) + 1) == name } on' "$1"
}

failed=0
row() { printf '%-26s %-72s %s\n' "$@"; }
# Tells what became of a scenario that must fail.
judge() {
  local patch=$1 name=$2 words=$3 text
  text=$(said "$work/$patch.log" "$name")
  case $text in
    *"  FAIL "*"$words"*) row "$patch" "$name" "failed as it must"; return ;;
    *"  FAIL "*) row "$patch" "$name" "FAILED BY OTHER WORDS: $work/$patch.log" ;;
    *"  ok "*) row "$patch" "$name" "STILL PASSES" ;;
    *) row "$patch" "$name" "DID NOT RUN: $work/$patch.log" ;;
  esac
  failed=1
}

heads() { sed -n 's/^fails: //p' "$@"; }
# Scenarios about trust that are not among these.
unnamed() {
  cargo test -q -p bestfit-tests --test e2e -- --list | sed -n 's/^\(trust: .*\): test$/\1/p' | grep -vxF -f <(printf '%s\n' "$@")
}

mkdir -p "$work"
git worktree prune
if [[ -e $tree/.git ]]; then
  clean
  in_tree checkout -q --detach "$(git rev-parse HEAD)"
else
  git worktree add -q --detach "$tree" HEAD
fi

mapfile -t names < <(for patch in "${patches[@]}"; do heads "tests/mutants/$patch.patch"; done | sed 's/ => .*//' | sort -u)
if [[ $all ]]; then
  while IFS= read -r name; do
    row "(no patch)" "$name" "NOT SEEN TO FAIL"
    failed=1
  done < <(unnamed "${names[@]}")
fi
build
scenarios "$work/none.log" "${names[@]}"
for name in "${names[@]}"; do
  if [[ $(said "$work/none.log" "$name") != "  ok "* ]]; then
    row "(none)" "$name" "DOES NOT PASS: $work/none.log"
    failed=1
  fi
done

for patch in "${patches[@]}"; do
  file=$PWD/tests/mutants/$patch.patch
  clean
  if ! in_tree apply "$file" 2>"$work/$patch.log"; then
    row "$patch" "" "DOES NOT APPLY: $work/$patch.log"
    failed=1
  elif ! build 2>"$work/$patch.log"; then
    row "$patch" "" "DOES NOT COMPILE: $work/$patch.log"
    failed=1
  else
    mapfile -t must < <(heads "$file")
    scenarios "$work/$patch.log" "${must[@]%% => *}"
    for one in "${must[@]}"; do judge "$patch" "${one%% => *}" "${one#* => }"; done
  fi
done
exit "$failed"
