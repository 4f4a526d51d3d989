"""From a recording of any length to a timeline, measures and a report."""
