"""Encoders in the bucket: mirrored once, whole, and the pinned ones."""

import hashlib
import shutil
from pathlib import Path

import pytest
from safetensors.torch import save_file

from ser_tasks.config import EncoderPin
from ser_tasks.encoder_mirror import (
    check_pinned,
    encoder_prefix,
    mirror_from_folder,
    mirror_from_hub,
    mirrored_revision,
)
from ser_tasks.errors import BadInput
from ser_tasks.store import Store

NAME = "someone/encoder"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config(**shape)).save_pretrained(tmp_path / "encoder")
    (tmp_path / "encoder" / "pytorch_model.bin").write_bytes(b"pickled")
    return tmp_path / "encoder"


def test_a_folder_is_mirrored_without_its_pickles_and_can_be_pinned(store: Store, folder: Path) -> None:
    sha256 = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    pin = EncoderPin(revision="abc", sha256={"model.safetensors": sha256})
    mirror_from_folder(NAME, folder, pin, store)
    names = {item["key"].removeprefix(encoder_prefix(NAME)) for item in store.list(encoder_prefix(NAME))}
    assert names == {"config.json", "model.safetensors", "mirror.json"}
    assert mirrored_revision(NAME, store) == "abc"
    ref = store.pin_raw(encoder_prefix(NAME), {})
    assert ref is not None
    check_pinned(store, ref, NAME, pin)
    with pytest.raises(BadInput, match=r"someone/encoder, pinned.*model\.safetensors"):
        check_pinned(store, ref, NAME, EncoderPin(sha256={"model.safetensors": "0" * 64}))


def test_a_mirror_of_another_revision_than_the_pinned_one_is_refused(store: Store, folder: Path) -> None:
    mirror_from_folder(NAME, folder, EncoderPin(revision="abc"), store)
    assert mirror_from_hub(NAME, EncoderPin(), store)
    with pytest.raises(BadInput, match="is of revision abc, and def is pinned"):
        mirror_from_hub(NAME, EncoderPin(revision="def"), store)


def test_other_weights_than_the_pinned_are_not_mirrored(store: Store, folder: Path) -> None:
    with pytest.raises(BadInput, match=r"model\.safetensors"):
        mirror_from_folder(NAME, folder, EncoderPin(sha256={"model.safetensors": "0" * 64}), store)
    assert not list(store.list(encoder_prefix(NAME)))


def test_pickled_weights_alone_are_refused(store: Store, folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadInput, match="pickled"):
        mirror_from_folder(NAME, folder, EncoderPin(), store)
    shutil.rmtree(folder)
    folder.mkdir()
    save_file({}, folder / "model.safetensors")
    with pytest.raises(BadInput, match=r"needs config\.json"):
        mirror_from_folder(NAME, folder, EncoderPin(), store)


def test_where_no_hub_answers_there_is_no_mirror(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    assert not mirror_from_hub("nobody/nothing", EncoderPin(), store)
