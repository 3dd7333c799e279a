"""`python -m researchflow_tmux` is `rfsched`."""

from researchflow_tmux.cli.main import main

if __name__ == "__main__":
    main()
