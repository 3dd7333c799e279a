#!/bin/sh
# Runs rfsched on the workspace that this file is in, from any directory:
#
#   ./scheduler.sh start [CONFIGS [GPUS]]     ./scheduler.sh status     ./scheduler.sh help
#
# Paths among the arguments are relative to the workspace.

# The Python that set up this workspace; used when no rfsched is on the PATH.
setup_python=

workspace=$(dirname -- "$(readlink -f -- "$0")") && cd -- "$workspace" || exit

if [ "${1-}" = help ]; then
    shift
    set -- "$@" --help
fi

if command -v rfsched >/dev/null 2>&1; then
    exec rfsched "$@"
elif [ -n "$setup_python" ] && [ -x "$setup_python" ]; then
    exec "$setup_python" -m researchflow_tmux "$@"
fi
echo "scheduler.sh: rfsched is not on the PATH: activate the environment it is installed in, or install it" >&2
exit 127
