#!/usr/bin/env bash
# criu, which runc needs for checkpoints, with every library of its release: bookworm's 3.17 cannot read the vDSO of newer
# kernels ("Unexpected rt vDSO area bounds"), and 4.1 needs a newer libc than bookworm's.
set -euo pipefail
# shellcheck source=tests/setup/say.sh
source "$(dirname "$0")/say.sh"
: "${peers:?run setup.sh, which says where the peers lie}"

"$(dirname "$0")/debian.sh" trixie criu libc6 libprotobuf-c1 libnl-3-200 libnet1 libbsd0 libnftables1 libgnutls30t64 libmd0 \
  libmnl0 libnftnl11 libxtables12 libjansson4 libgmp10 libnettle8t64 libhogweed6t64 libidn2-0 libunistring5 libtasn1-6 \
  libp11-kit0 libffi8 libuuid1
root=$peers/trixie/root
loader=$(compgen -G "$root/usr/lib*/ld-linux-*.so.*" | head -n 1 || true)
if [[ -z $loader || ! -x $root/usr/sbin/criu ]]; then
  skip "criu cannot be had; checkpoints are left out"
  exit 0
fi
libraries=$(dirname "$(realpath "$loader")")
base=$(realpath "$root")
# By its own place: the folder of the peers may be moved or linked to. Without iptables, which the test containers do not
# need: they have no network.
echo 'network-lock skip' >"$root/criu.conf"
cat >"$peers/bin/criu" <<SCRIPT
#!/bin/sh
root=\$(dirname "\$(realpath "\$0")")/../trixie/root
export CRIU_CONFIG_FILE="\$root/criu.conf"
exec "\$root/${loader#"$root"/}" --library-path "\$root/${libraries#"$base"/}" "\$root/usr/sbin/criu" "\$@"
SCRIPT
chmod 755 "$peers/bin/criu"
say "criu: $("$peers/bin/criu" --version | head -n 1)"
