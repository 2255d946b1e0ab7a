"""Run a function over many clips in batches of similar length, and give its outputs in the order asked for."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ser_tasks.audio.packed import PackedAudio
from ser_tasks.training.batches import applied_seconds, collate, prediction_batches
from ser_tasks.training.device import autocast


@torch.inference_mode()
def apply_to_clips(
    function: Callable[[Tensor, Tensor], Tensor],
    audio: PackedAudio,
    indices: Sequence[int],
    device: torch.device,
    batch_seconds: float | None,
    *,
    precision: str = "float32",
) -> Tensor:
    """Apply `function` (waveforms, lengths -> [batch, ...]) to clips.

    Args:
        function: A model in evaluation mode on `device`, or a method of one.
        audio: Where the clips are.
        indices: Which clips, in the order of the result; at least one.
        device: Where to compute.
        batch_seconds: Most seconds in a batch, padding included; None: what suits the device.
        precision: auto | float32 | bf16.

    Returns:
        float32 [len(indices), ...] on the CPU.
    """
    most = batch_seconds or applied_seconds(device)
    batches = prediction_batches([audio.length(i) for i in indices], most)
    outputs: list[Tensor] = []
    for batch in batches:
        waveforms, lengths = collate(audio, [indices[position] for position in batch])
        with autocast(device, precision):
            outputs.append(function(waveforms.to(device), lengths.to(device)).float().cpu())
    positions = torch.tensor([position for batch in batches for position in batch])
    return torch.cat(outputs)[positions.argsort()]
