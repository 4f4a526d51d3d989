"""One module a schedule, each with its descriptor ``SCHEDULE``; a module that is added here is known everywhere."""
