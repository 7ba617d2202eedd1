#!/usr/bin/env bash
# Installs what is missing on a Debian or Ubuntu machine. Quick when nothing is missing.
#   tools/setup.sh build    what ./run needs: compiler, libraries, pip as a download client
#   tools/setup.sh test     the above, and what ./test needs: clang, a browser, SDK runtimes
set -euo pipefail

group=${1:-build}
build_packages=(g++ cmake ninja-build ccache mold git python3 python3-pip python3-venv ca-certificates curl
  libssl-dev libcurl4-openssl-dev libspdlog-dev libfmt-dev libcli11-dev libyaml-cpp-dev libzip-dev
  libedit-dev zlib1g-dev libxxhash-dev libsqlite3-dev libgtest-dev)
test_packages=(clang clang-format clang-tidy lld libclang-rt-14-dev chromium fonts-wqy-zenhei)
# The ARM paths are cross-compiled and run under emulation.
[ "$(uname -m)" = x86_64 ] && test_packages+=(g++-aarch64-linux-gnu qemu-user)
command -v node >/dev/null 2>&1 || test_packages+=(nodejs npm)

have() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

missing=()
# Debian 12 carries Boost 1.81 under versioned names; later systems have a newer default.
if have libboost1.81-dev || ! have libboost-dev; then
  boost=(libboost1.81-dev libboost-json1.81-dev libboost-url1.81-dev)
else
  boost=(libboost-dev libboost-json-dev libboost-url-dev)
fi
packages=("${build_packages[@]}" "${boost[@]}")
[ "$group" = test ] && packages+=("${test_packages[@]}")
for package in "${packages[@]}"; do
  have "$package" || missing+=("$package")
done
[ ${#missing[@]} = 0 ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
  echo "setup: this system has no apt-get; install these packages (Debian names) by hand: ${missing[*]}" >&2
  exit 1
fi
root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null 2>&1 || {
    echo "setup: not root and no sudo; ask an administrator to install: ${missing[*]}" >&2
    exit 1
  }
  root=(sudo)
fi
echo "setup: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt=("${root[@]}" apt-get -o DPkg::Lock::Timeout=300)
"${apt[@]}" update -qq
if ! apt-cache show libboost1.81-dev >/dev/null 2>&1; then
  for i in "${!missing[@]}"; do
    missing[i]=${missing[i]/libboost1.81/libboost}
    missing[i]=${missing[i]/libboost-json1.81/libboost-json}
    missing[i]=${missing[i]/libboost-url1.81/libboost-url}
  done
fi
if ! apt-cache show libclang-rt-14-dev >/dev/null 2>&1; then
  for i in "${!missing[@]}"; do
    [ "${missing[i]}" = libclang-rt-14-dev ] && unset 'missing[i]'
  done
fi
"${apt[@]}" install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
