"""From class probabilities to an answer and the confidence in it."""
