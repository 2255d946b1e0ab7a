"""What most people write to train a CNN on spectrograms: the naive side of the benchmark `train_cnn`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ser_tasks.audio.speech import Speech, SpeechOptions
from ser_tasks.audio.voice import EXTRA_CHANNELS

RATE_HZ = 16_000


class MelDataset(Dataset[Any]):
    """Decodes the file, finds its speech and takes the mel spectrogram by librosa, for every item that is asked for.

    Windows of 25 ms every 10 ms of speech at one level: what our network takes, so that it is the same one.
    """

    def __init__(self, clips: list[tuple[Path, int]], n_mels: int) -> None:
        self.clips, self.n_mels, self.speech = clips, n_mels, Speech(SpeechOptions())

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        path, label = self.clips[i]
        samples, _ = librosa.load(path, sr=RATE_HZ)
        waveform, length = self.speech(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
        mel = librosa.feature.melspectrogram(
            y=waveform[0, : int(length)].numpy(), sr=RATE_HZ, n_fft=400, hop_length=160, n_mels=self.n_mels, fmin=50,
            center=False,
        )  # fmt: skip
        about = np.zeros((EXTRA_CHANNELS, mel.shape[1]), dtype=np.float32)
        return torch.from_numpy(np.concatenate([mel, about]).astype(np.float32).T), label


def collate(items: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Padded to the longest of the batch."""
    lengths = torch.tensor([len(mel) for mel, _ in items])
    mels = torch.zeros(len(items), int(lengths.max()), items[0][0].shape[1])
    for row, (mel, _) in enumerate(items):
        mels[row, : len(mel)] = mel
    return mels, lengths, torch.tensor([label for _, label in items])


def train(
    network: Callable[[Tensor, Tensor], Tensor],
    model: nn.Module,
    data: tuple[list[tuple[Path, int]], list[tuple[Path, int]]],
    n_mels: int,
    batch_size: int,
    learning_rate: float,
    epochs: int,
    on_epoch: Callable[[float], None],
) -> None:
    """AdamW, OneCycle, cross-entropy; dev UAR after each epoch.

    Args:
        network: Mel power [batch, frames, mels + EXTRA_CHANNELS] and frames of each -> logits.
        model: Whose weights are trained.
        data: Train and dev clips.
        n_mels: Bins.
        batch_size: Clips.
        learning_rate: The highest.
        epochs: Passes.
        on_epoch: Takes the dev UAR.
    """
    loaders = [
        DataLoader(MelDataset(clips, n_mels), batch_size=batch_size, shuffle=not i, collate_fn=collate)
        for i, clips in enumerate(data)
    ]
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=epochs * len(loaders[0]))
    for _ in range(epochs):
        model.train()
        for mels, lengths, targets in loaders[0]:
            loss = nn.functional.cross_entropy(network(mels, lengths), targets)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        model.eval()
        with torch.inference_mode():
            pairs = [(network(mels, lengths).argmax(dim=1), targets) for mels, lengths, targets in loaders[1]]
        found, true = (torch.cat(part) for part in zip(*pairs, strict=True))
        on_epoch(float(np.mean([(found[true == label] == label).float().mean() for label in true.unique()])))
