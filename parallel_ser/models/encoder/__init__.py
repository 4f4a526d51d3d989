"""Speech encoders of torchaudio's architecture (wav2vec 2.0, HuBERT, WavLM) as chains of blocks."""
