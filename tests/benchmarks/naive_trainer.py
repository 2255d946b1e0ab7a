"""Fine-tuning as transformers' audio-classification example does it: the naive side of `train_wav2vec2`."""

import tempfile
import time
from typing import Any

import torch
from transformers import (
    Trainer,
    TrainerCallback,
    TrainingArguments,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)

from ser_tasks.audio.packed import SAMPLE_RATE_HZ
from ser_tasks.training.fit import Examples


def audio_seconds_per_s(train: Examples, classes: int, batch_size: int, steps: int) -> float:
    """Random order, padded to the longest, float32, frozen feature encoder; the first two steps are not counted."""
    torch.manual_seed(0)
    model = Wav2Vec2ForSequenceClassification(
        Wav2Vec2Config(num_labels=classes, layerdrop=0.0, apply_spec_augment=False, classifier_proj_size=768)
    )
    model.freeze_feature_encoder()
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

    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=batch_size, max_steps=steps, use_cpu=True,
        report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True, remove_unused_columns=False,
        learning_rate=3e-5, dataloader_num_workers=0,
    )  # fmt: skip
    rows: Any = list(range(len(train.rows)))
    Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate, callbacks=[Clock()]).train()
    return sum(held[2 : len(ended)]) / (ended[-1] - ended[1])
