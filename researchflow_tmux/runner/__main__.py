"""Entry of `PYTHON -I -S .../researchflow_tmux/runner/__main__.py SPEC.json` (see `command`)."""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
# Running the directory instead of this file puts it first on the path, where `log` or `child` would be top-level
# modules. The parent of the package goes last, so that nothing beside the package can shadow the standard library.
if sys.path[0] == _HERE:
    sys.path.pop(0)
sys.path.append(os.path.dirname(os.path.dirname(_HERE)))

from researchflow_tmux.runner.main import main  # noqa: E402 - the path is set above

main(sys.argv)
