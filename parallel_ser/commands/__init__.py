"""The commands of ``parallel-ser``, one module each; what they run is imported inside them, so that help is instant."""
