"""The scheduler: reconcile and decide are pure; loop is the only shell."""
