"""Batches that a device cuts out of the corpus itself are those that the CPU fills."""

import torch

from ser_tasks.training.batches import Waveforms, pieces
from tests.training.kill_me import tones


def test_a_resident_corpus_gives_the_same_batches(tmp_path) -> None:  # type: ignore[no-untyped-def]
    audio = tones(tmp_path)[0].audio
    filled, resident = (Waveforms(audio, torch.device("cpu"), resident=held) for held in (False, True))
    for clips in ([0], [35, 3, 17], list(range(36))):
        for one, other in zip(filled(clips), resident(clips), strict=True):
            assert torch.equal(one, other)


def test_pieces_hold_every_clip_once_in_order() -> None:
    assert pieces([7, 3, 5, 1, 9], 2) == [[7, 3, 5], [1, 9]]
    assert pieces([7], 3) == [[7], [], []]
