"""threadward projects: three Python files that say which tasks there are and how one is run."""
