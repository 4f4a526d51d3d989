"""Chains of named blocks; no word of processes."""
