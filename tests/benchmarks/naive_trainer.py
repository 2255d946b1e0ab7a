"""Fine-tuning as transformers' audio-classification example does it: the naive side of `train_wav2vec2`."""

import copy
import tempfile
import time
from typing import Any

import torch
from torch import nn
from transformers import (
    Trainer,
    TrainerCallback,
    TrainingArguments,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)

from ser_tasks.audio.packed import SAMPLE_RATE_HZ
from ser_tasks.training.fit import Examples

SETTLING = 2
"""Steps at the beginning that are not counted."""


def the_same(model: Any, classes: int) -> Wav2Vec2ForSequenceClassification:
    """transformers' network with the weights of ours: one linear layer on the mean over time, so no projector."""
    config = copy.deepcopy(model.encoder.config)
    config.num_labels = classes
    theirs = Wav2Vec2ForSequenceClassification(config)
    theirs.wav2vec2.load_state_dict(model.encoder.model.state_dict())
    theirs.projector = nn.Identity()
    theirs.classifier = copy.deepcopy(model.classifier)
    theirs.freeze_feature_encoder()
    return theirs


def audio_seconds_per_s(model: Wav2Vec2ForSequenceClassification, train: Examples, batch_size: int) -> float:
    """One epoch in random order, padded to the longest of a batch, float32."""
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    ended: list[float] = []
    held: list[float] = []  # seconds of audio of each batch

    def collate(rows: list[int]) -> Any:
        waveforms = [train.audio.waveform(train.rows[row][0]) for row in rows]
        held.append(sum(map(len, waveforms)) / SAMPLE_RATE_HZ)
        batch = extractor(waveforms, sampling_rate=SAMPLE_RATE_HZ, padding="longest", return_tensors="pt")
        batch["labels"] = torch.tensor([train.rows[row][1] for row in rows])
        return dict(batch)

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            ended.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=batch_size, num_train_epochs=1, use_cpu=True, report_to=[],
            save_strategy="no", logging_strategy="no", disable_tqdm=True, remove_unused_columns=False,
            learning_rate=3e-5, dataloader_num_workers=0,
        )  # fmt: skip
        rows: Any = list(range(len(train.rows)))
        Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate, callbacks=[Clock()]).train()
    return sum(held[SETTLING : len(ended)]) / (ended[-1] - ended[SETTLING - 1])
