"""Blocks split over the ranks of a tensor dimension: placements of parameters, and rules by type of block."""
