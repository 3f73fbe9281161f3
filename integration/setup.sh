#!/usr/bin/env bash
# Installs what the demo, the tests or the benchmarks need and the machine lacks (Debian, Ubuntu).
# usage: setup.sh demo|test|bench
set -euo pipefail

want=()
need() { # need COMMAND PACKAGE...: ask for the packages when the command is missing
  local command=$1; shift
  command -v "$command" >/dev/null 2>&1 || want+=("$@")
}

case "${1:-}" in
demo)  need fusermount3 fuse3 ;;
test)  need fusermount3 fuse3; need setfattr attr; need setfacl acl; need gcc gcc libc6-dev ;;
bench) need fusermount3 fuse3; need restic restic; need xz xz-utils
       [ -f /usr/src/linux-source-6.1.tar.xz ] || want+=(linux-source-6.1) ;;
*)     echo "usage: setup.sh demo|test|bench" >&2; exit 2 ;;
esac

command -v go >/dev/null 2>&1 || { echo "setup: Go is not installed; see https://go.dev/dl" >&2; exit 1; }

root() { # run as root, by sudo when needed
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

retry() { # up to five times, waiting a little longer each time
  local try
  for try in 1 2 3 4 5; do
    "$@" && return 0
    [ "$try" = 5 ] || { echo "setup: attempt $try did not succeed, trying again: $*" >&2; sleep $((try * 4)); }
  done
  return 1
}

if [ ${#want[@]} -gt 0 ]; then
  command -v apt-get >/dev/null 2>&1 || { echo "setup: please install: ${want[*]}" >&2; exit 1; }
  echo "setup: installing ${want[*]}"
  export DEBIAN_FRONTEND=noninteractive
  retry root apt-get -o DPkg::Lock::Timeout=120 -q update
  retry root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -q -y --no-install-recommends install "${want[@]}"
fi

# A minimal container may have the kernel's FUSE but no device node for it.
if [ ! -e /dev/fuse ]; then
  root modprobe fuse 2>/dev/null || true
  [ -e /dev/fuse ] || root mknod -m 0666 /dev/fuse c 10 229 2>/dev/null || true
  [ -e /dev/fuse ] || echo "setup: there is no /dev/fuse here; mounts will not work" >&2
fi
