"""Strategies: one module each in ``known``, with a descriptor that says all that is known of it.

A descriptor imports nothing heavy, so that settings, planner and command line can ask it. Its ``compose`` names the
pieces of ``engine`` that train; a strategy may bring pieces of its own.
"""
