"""Placing a chain's blocks on ranks and stepping them; no word of speech."""
