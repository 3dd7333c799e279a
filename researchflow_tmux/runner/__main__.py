"""Entry of `PYTHON -I -S .../researchflow_tmux/runner SPEC.json`."""

import os
import sys

# Running a directory puts that directory first on the path, where `log` or `child` would be top-level modules. The
# parent of the package goes last instead, so that nothing beside the package can shadow the standard library.
sys.path.pop(0)
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from researchflow_tmux.runner.main import main

main(sys.argv)
