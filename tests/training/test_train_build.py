"""From a manifest's columns to what a network learns."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ser_tasks.builds.train_network import _start_from, vote_shares
from ser_tasks.errors import BadInput
from ser_tasks.models.files import ModelSpec, build_model, save_model

LABELS = ["angry", "happy", "neutral"]


def votes(**kinds: dict[str, int]) -> str:
    return json.dumps({kind: {"counts": counts, "responses": sum(counts.values())} for kind, counts in kinds.items()})


def test_votes_of_those_who_only_heard_a_clip_come_first() -> None:
    both = votes(audio_visual={"happy": 5}, face={"neutral": 9}, voice={"angry": 3, "happy": 1})
    assert vote_shares(both, LABELS) == [0.75, 0.25, 0.0]
    assert vote_shares(votes(audio_visual={"happy": 5}, face={"neutral": 9}), LABELS) == [0.0, 1.0, 0.0]
    assert vote_shares(votes(evaluators={"neutral": 2, "angry": 2}), LABELS) == [0.5, 0.0, 0.5]


@pytest.mark.parametrize("held", [None, float("nan"), "{}", votes(voice={"sad": 4}), votes(face={"angry": 4})])
def test_a_clip_that_nobody_heard_as_one_of_the_labels_has_no_votes(held: object) -> None:
    assert np.isnan(vote_shares(held, LABELS)).all()


def small(channels: int = 4, labels: list[str] = LABELS) -> ModelSpec:
    return ModelSpec("cnn", {"channels": [channels] * 4}, labels, title="small")


def test_a_night_may_start_from_the_champion_but_never_from_one_who_knows_the_test_speakers(tmp_path: Path) -> None:
    champion = build_model(small(), None, 1)
    save_model(tmp_path / "start", champion, small())
    (tmp_path / "start_rows").mkdir()
    rows = pd.DataFrame({"speaker_id": ["a", "b"], "role": ["train", "dev"]})
    rows.to_parquet(tmp_path / "start_rows" / "rows.parquet")
    inputs = {name: tmp_path / name for name in ("start", "start_rows")}
    model = build_model(small(), None, 2)
    _start_from(inputs, model, small(), ["a", "b", "new"])
    assert all(torch.equal(value, champion.state_dict()[name]) for name, value in model.state_dict().items())
    with pytest.raises(BadInput, match="has learnt from b, who do not train today"):
        _start_from(inputs, model, small(), ["a", "new"])
    with pytest.raises(BadInput, match="another network"):
        _start_from(inputs, build_model(small(8), None, 0), small(8), ["a", "b"])
    with pytest.raises(BadInput, match="other labels"):
        _start_from(inputs, model, small(labels=LABELS[:2]), ["a", "b"])
