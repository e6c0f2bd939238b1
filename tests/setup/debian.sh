#!/usr/bin/env bash
# debian.sh SUITE PACKAGE...: unpacks packages of one Debian release into $peers/SUITE/root, beside the system: apt gets
# lists, state and cache of its own. The mirror is the one that the system's own sources name.
set -euo pipefail
# shellcheck source=tests/setup/say.sh
source "$(dirname "$0")/say.sh"
: "${peers:?run setup.sh, which says where the peers lie}"
suite=$1
shift
dir=$peers/$suite

wanted=()
for package in "$@"; do
  [[ -e $dir/have/$package ]] || wanted+=("$package")
done
if ((${#wanted[@]} == 0)); then
  say "$suite: all there ($*)"
  exit 0
fi

# apt expands it, not the shell.
# shellcheck disable=SC2016
mirror() {
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null | head -n 1
}
if ! command -v apt-get >/dev/null; then
  skip "$suite: no apt-get here, so Debian's ${wanted[*]} cannot be had"
  exit 0
fi
uri=$(mirror)
if [[ -z $uri && $(id -u) == 0 ]]; then
  say "$suite: reading the system's package lists first"
  apt-get update -qq >/dev/null 2>&1 || true
  uri=$(mirror)
fi
if [[ -z $uri ]]; then
  skip "$suite: the system's package sources are not Debian's, so ${wanted[*]} cannot be had"
  exit 0
fi

say "$suite: fetching ${wanted[*]}"
mkdir -p "$dir"/{lists/partial,cache/archives/partial,root,have}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] $uri $suite main" >"$dir/sources.list"
options=(
  -o "Dir::Etc::sourcelist=$dir/sources.list" -o "Dir::Etc::sourceparts=-"
  -o "Dir::State::lists=$dir/lists" -o "Dir::State::status=/dev/null" -o "Dir::Cache=$dir/cache"
  -o "APT::Sandbox::User=root" -o "Acquire::Languages=none" -o "Acquire::Retries=2"
)
cd "$dir"
if ! apt-get "${options[@]}" update -qq >update.log 2>&1; then
  skip "$suite: its package lists cannot be read: $(tail -n 1 update.log)"
  exit 0
fi
for package in "${wanted[@]}"; do
  rm -f "${package}"_*.deb
  if apt-get "${options[@]}" download -qq "$package" >download.log 2>&1; then
    dpkg -x "${package}"_*.deb root
    basename "${package}"_*.deb >"have/$package"
    rm -f "${package}"_*.deb
  else
    skip "$suite: $package cannot be had: $(tail -n 1 download.log)"
  fi
done
# The lists are large and of no further use.
rm -rf lists cache
