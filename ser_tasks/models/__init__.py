"""The networks: waveform batch and lengths in, logits out."""
