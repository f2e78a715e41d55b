# Sourced by scripts/run and scripts/test: leaves a Python with the pinned packages in $VENV_PYTHON.
#
#   PYTHON      interpreter to make the environment from; otherwise the newest of 3.13, 3.12 and 3.11 on the PATH
#   QJAX_VENV   where the environment lies; otherwise .venv in the checkout
#
# A stamp (sha256 of requirements.txt, and the Python version) is written last, so an installation that was
# interrupted is never mistaken for a finished one. Runs that start together wait for each other.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${QJAX_VENV:-$ROOT/.venv}"
VENV_PYTHON="$VENV/bin/python"

setup_fail() {
  echo "error: $*" >&2
  return 1
}

# Prints "3.12" for an interpreter that runs, nothing otherwise (pyenv leaves names on the PATH that do not).
python_version() {
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

is_supported() {
  case "$1" in 3.11 | 3.12 | 3.13) return 0 ;; *) return 1 ;; esac
}

# Prints the interpreter to build with, or says why there is none.
find_python() {
  local candidate version seen=""
  if [ -n "${PYTHON:-}" ]; then
    version="$(python_version "$PYTHON")"
    is_supported "$version" && echo "$PYTHON" && return 0
    setup_fail "PYTHON=$PYTHON must be Python 3.11, 3.12 or 3.13, but got ${version:-a program that does not run}."
    return 1
  fi
  for candidate in python3.13 python3.12 python3.11 python3 python; do
    version="$(python_version "$candidate")"
    is_supported "$version" && echo "$candidate" && return 0
    [ -n "$version" ] && seen="$seen$candidate is $version; "
  done
  setup_fail "Python 3.11, 3.12 or 3.13 is needed, but the PATH has none (${seen:-no Python at all; }set" \
    "PYTHON=/path/to/python to name one)."
}

# Prints what the environment must have been made from: the lock file's hash and the Python version.
wanted_stamp() {
  "$1" -c 'import hashlib, sys
print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest(), "%d.%d" % sys.version_info[:2])' \
    "$ROOT/requirements.txt" 2>/dev/null
}

is_ready() {
  local version
  [ -x "$VENV_PYTHON" ] && [ -f "$VENV/.qjax-stamp" ] || return 1
  [ "$(cat "$VENV/.qjax-stamp")" = "$(wanted_stamp "$VENV_PYTHON")" ] || return 1
  [ -n "${PYTHON:-}" ] || return 0
  version="$(python_version "$PYTHON")" # asked for by name: the environment must be of that version
  [ "$version" = "$(python_version "$VENV_PYTHON")" ]
}

make_environment() {
  local python
  python="$(find_python)" || return 1
  echo "setup: making $VENV with $python ($(python_version "$python"))" >&2
  rm -f "$VENV/.qjax-stamp"
  if ! "$python" -m venv --clear "$VENV" >&2; then
    setup_fail "$python cannot make a virtual environment: its venv or ensurepip module is missing" \
      "(Debian and Ubuntu: apt-get install python3-venv)."
    return 1
  fi
}

install_packages() {
  # Marks the environment as unfinished: a later run that finds the mark starts from an empty one.
  : >"$VENV/.qjax-installing"
  rm -f "$VENV/.qjax-stamp"
  echo "setup: installing requirements.txt (a few minutes the first time)" >&2
  if ! "$VENV_PYTHON" -m pip install -qq --disable-pip-version-check \
    --requirement "$ROOT/requirements.txt" >&2; then
    setup_fail "pip could not install requirements.txt; its own message stands above."
    return 1
  fi
  wanted_stamp "$VENV_PYTHON" >"$VENV/.qjax-stamp.new" && mv "$VENV/.qjax-stamp.new" "$VENV/.qjax-stamp" || return 1
  rm -f "$VENV/.qjax-installing"
}

# An environment of the right Python that can install packages, and whose last installation came to its end.
is_usable() {
  local version
  version="$(python_version "$VENV_PYTHON")"
  is_supported "$version" && [ ! -e "$VENV/.qjax-installing" ] || return 1
  "$VENV_PYTHON" -m pip --version >/dev/null 2>&1 || return 1
  [ -z "${PYTHON:-}" ] || [ "$version" = "$(python_version "$PYTHON")" ]
}

setup_environment() {
  is_ready && return 0
  # Locks this very file, so that no lock file is left behind; without flock (macOS) one run at a time is up to you.
  exec 9<"$ROOT/scripts/setup.sh"
  if command -v flock >/dev/null 2>&1; then
    flock -n 9 || { echo "setup: waiting for another setup of this checkout" >&2 && flock 9; } || true
  fi
  local status=0
  if ! is_ready; then
    { is_usable || make_environment; } && install_packages || status=1
  fi
  exec 9<&- # not inherited by what runs next
  return "$status"
}
