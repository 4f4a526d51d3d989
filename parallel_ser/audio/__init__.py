"""From a recording to frame features: loading, preprocessing, extraction, cache."""
