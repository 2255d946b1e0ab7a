"""Embeddings as most people take them, one clip after the other in float32: the naive side of the benchmark `embed`."""

from typing import Any

import numpy as np
import torch

from ser_tasks.audio.packed import PackedAudio


def one_by_one(model: Any, audio: PackedAudio, device: torch.device) -> np.ndarray:
    """Mean and standard deviation over time of the last layer, float32 [clips, 2 * dim]."""
    found = []
    with torch.inference_mode():
        for i in range(len(audio)):
            waveform = torch.from_numpy(audio.waveform(i))[None].to(device)
            length = torch.tensor([waveform.shape[1]], device=device)
            found.append(model.embed(waveform, length)[0].cpu().numpy())
    return np.stack(found)
