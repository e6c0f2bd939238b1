#!/usr/bin/env bash
# Where Debian's releases could not be had (Ubuntu), the demo takes the distribution's own containerd, runc and
# docker-registry: those that are installed, else unpacked beside the system, so that no service is started.
set -euo pipefail
# shellcheck source=tests/setup/say.sh
source "$(dirname "$0")/say.sh"
: "${peers:?run setup.sh, which says where the peers lie}"
dir=$peers/system

for suite in bookworm trixie forky; do
  if [[ -e $peers/$suite/have/containerd && -e $peers/bookworm/have/runc ]]; then
    exit 0
  fi
done
command -v apt-get >/dev/null || exit 0
mkdir -p "$dir"/{root,have}
cd "$dir"
packages=(containerd runc docker-registry busybox)
if [[ $(id -u) == 0 ]] && ! apt-cache show "${packages[@]}" >/dev/null 2>&1; then
  say "distribution: reading the package lists first"
  apt-get update -qq >/dev/null 2>&1 || skip "distribution: the package lists cannot be read"
fi
# Not every release has it, and nothing depends on it.
if apt-cache show oras >/dev/null 2>&1; then packages+=(oras); fi
for package in "${packages[@]}"; do
  if [[ -e have/$package ]] || command -v "$package" >/dev/null; then
    continue
  fi
  say "distribution: fetching $package"
  if apt-get download -o APT::Sandbox::User=root -qq "$package" >download.log 2>&1; then
    dpkg -x "${package}"_*.deb root
    basename "${package}"_*.deb >"have/$package"
    rm -f "${package}"_*.deb
  else
    skip "distribution: $package cannot be had: $(tail -n 1 download.log)"
  fi
done
