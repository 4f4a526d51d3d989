"""Measuring strategies against each other, fairly: fresh processes, equal cores, rounds in turn, every sample kept."""
