"""What the rest asks of the operating system: whole files, processes, what is installed."""
