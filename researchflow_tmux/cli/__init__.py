"""The command line: one file per group of commands. Importing the package imports no command."""
