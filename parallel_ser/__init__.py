"""Emotion recognition in speech, trained by distributed model parallelism on one machine."""

__version__ = "0.1.0"
