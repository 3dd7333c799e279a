"""From what people leave or type to jobs in the queue: configs, commands, and sources that are watched."""
