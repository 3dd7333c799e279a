"""From data of hindsight to what `drawing` draws."""
