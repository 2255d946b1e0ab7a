"""Encoders in the bucket: mirrored once, whole, and the pinned ones."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from ser_tasks.config import EncoderPin, load_config, parse_config
from ser_tasks.encoder_hub import CONVERTER, NoWeights
from ser_tasks.encoder_mirror import (
    check_pinned,
    encoder_prefix,
    find_mirror,
    mirror_from_folder,
    mirror_from_hub,
    mirror_origin,
)
from ser_tasks.errors import BadInput
from ser_tasks.plan import make_plan
from ser_tasks.store import Store
from tests.hub import Hub, serving

NAME = "someone/encoder"
PICKLED, CONVERTED, OTHER = "a" * 40, "b" * 40, "c" * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config(**shape)).save_pretrained(tmp_path / "encoder")
    (tmp_path / "encoder" / "pytorch_model.bin").write_bytes(b"pickled")
    return tmp_path / "encoder"


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """As facebook/wav2vec2-base is: pickled weights only, and a pull request with safetensors."""
    from huggingface_hub import constants

    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    pickled = {name: body for name, body in files.items() if not name.endswith(".safetensors")}
    change: dict[str, object] = {"num": 2, "author": CONVERTER, "title": "Adding `safetensors` variant of this model"}
    there = Hub(
        NAME,
        {PICKLED: pickled, CONVERTED: files},
        {"main": PICKLED, "refs/pr/2": CONVERTED},
        [change | {"made_of": PICKLED}],
    )
    with serving(there):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", there.url)
        resolve = f"{there.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", resolve)
        yield there


def names(store: Store, prefix: str) -> set[str]:
    return {item["key"].removeprefix(prefix) for item in store.list(prefix)}


def test_a_folder_is_mirrored_without_its_pickles_and_can_be_pinned(store: Store, folder: Path) -> None:
    sha256 = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    pin = EncoderPin(revision=OTHER, sha256={"model.safetensors": sha256})
    prefix = mirror_from_folder(NAME, folder, pin, store)
    assert prefix == f"encoders/someone--encoder@{OTHER}/"
    assert names(store, prefix) == {"config.json", "model.safetensors", "mirror.json"}
    origin = mirror_origin(prefix, store)
    assert origin["revision"] == OTHER
    assert {file["name"]: file["sha256"] for file in origin["files"]}["model.safetensors"] == sha256
    assert mirror_from_hub(NAME, EncoderPin(), store) == prefix, "the only one there is is taken without a pin"
    ref = store.pin_raw(prefix, {})
    assert ref is not None
    check_pinned(store, ref, NAME, pin)
    with pytest.raises(BadInput, match=r"someone/encoder, pinned.*model\.safetensors"):
        check_pinned(store, ref, NAME, EncoderPin(sha256={"model.safetensors": "0" * 64}))


def test_where_the_newest_is_pickled_the_hubs_conversion_is_taken_and_named(store: Store, hub: Hub) -> None:
    prefix = mirror_from_hub(NAME, EncoderPin(), store)
    assert prefix == encoder_prefix(NAME, CONVERTED)
    origin = mirror_origin(prefix, store)
    assert (origin["revision"], origin["conversion_of"]) == (CONVERTED, PICKLED)
    assert "pytorch_model.bin" not in names(store, prefix)
    hub.asked.clear()
    assert mirror_from_hub(NAME, EncoderPin(), store) == prefix
    assert not hub.asked, "what is mirrored needs no hub"


@pytest.mark.parametrize("change", [{"author": "stranger"}, {"made_of": OTHER}])
def test_weights_that_nobody_vouches_for_are_named_and_not_taken(
    store: Store, hub: Hub, change: dict[str, object]
) -> None:
    hub.changes[0] |= change
    with pytest.raises(NoWeights, match=f"pickled only.*{CONVERTED} .refs/pr/2 by.*ser encoder mirror"):
        mirror_from_hub(NAME, EncoderPin(), store)
    assert not names(store, "encoders/")


def test_a_study_goes_on_with_a_random_encoder_where_all_weights_are_pickled(store: Store, hub: Hub) -> None:
    hub.changes.clear()
    config = load_config("demo", {"wav2vec2.encoder": NAME})
    for corpus in config.used_corpora:
        store.put(f"raw/{corpus}/clip.wav", b"sound")
    planned = make_plan(config, store, "test")
    assert not [item for item in planned if item["step"] == "encoder"]
    plan = json.loads((store.fetch(planned[0]["ref"], store.cache / "plan") / "plan.json").read_bytes())
    assert "pickled only" in plan["notes"][0] and "--from FOLDER" in plan["notes"][0]
    assert "random" in plan["notes"][1]


def test_a_pin_is_exact_whatever_conversions_there_are(store: Store, hub: Hub) -> None:
    with pytest.raises(BadInput, match=f"{PICKLED} are pickled only.*it is pinned") as refused:
        mirror_from_hub(NAME, EncoderPin(revision=PICKLED), store)
    assert not isinstance(refused.value, NoWeights), "a study does not go on without what it pins"
    assert mirror_from_hub(NAME, EncoderPin(revision=CONVERTED), store) == encoder_prefix(NAME, CONVERTED)


@pytest.mark.parametrize("revision", ["main", "refs/pr/2", "0b5b8e8"])
def test_a_pin_that_moves_on_is_refused(revision: str) -> None:
    tree: dict[str, Any] = load_config("demo").portable()
    tree["wav2vec2"]["pin"] = {"revision": revision}
    with pytest.raises(BadInput, match=r"pin\.revision.*\{40\}"):
        parse_config(tree, "a study")


def test_two_revisions_lie_beside_each_other_and_an_unpinned_study_must_choose(
    store: Store, hub: Hub, folder: Path
) -> None:
    first = mirror_from_hub(NAME, EncoderPin(revision=CONVERTED), store)
    second = mirror_from_folder(NAME, folder, EncoderPin(revision=OTHER), store)
    assert first != second
    assert find_mirror(NAME, EncoderPin(revision=CONVERTED), store) == first
    assert find_mirror(NAME, EncoderPin(revision=OTHER), store) == second
    with pytest.raises(BadInput, match=f"@{CONVERTED}/.*@{OTHER}/.*pin one"):
        find_mirror(NAME, EncoderPin(), store)


def test_a_mirror_that_was_cut_off_is_not_taken_and_is_completed_by_doing_it_again(store: Store, folder: Path) -> None:
    prefix = encoder_prefix(NAME, OTHER)
    store.put(prefix + "config.json", (folder / "config.json").read_bytes())
    assert find_mirror(NAME, EncoderPin(), store) is None
    assert find_mirror(NAME, EncoderPin(revision=OTHER), store) is None
    assert mirror_from_folder(NAME, folder, EncoderPin(revision=OTHER), store) == prefix
    assert find_mirror(NAME, EncoderPin(), store) == prefix
    store.delete(prefix + "model.safetensors")
    with pytest.raises(BadInput, match=r"model\.safetensors is not what was mirrored"):
        find_mirror(NAME, EncoderPin(), store)


def test_an_upload_by_hand_counts_when_all_of_it_is_there(store: Store, folder: Path) -> None:
    prefix = encoder_prefix(NAME)
    store.put(prefix + "config.json", (folder / "config.json").read_bytes())
    with pytest.raises(BadInput, match=r"not whole: encoders/someone--encoder: needs config\.json and"):
        find_mirror(NAME, EncoderPin(), store)
    index = {"weight_map": {"one": "model-1.safetensors", "two": "model-2.safetensors"}}
    store.put(prefix + "model.safetensors.index.json", json.dumps(index).encode())
    store.put(prefix + "model-1.safetensors", b"weights")
    with pytest.raises(BadInput, match=r"not whole.*model-2\.safetensors is missing"):
        find_mirror(NAME, EncoderPin(), store)
    store.put(prefix + "model-2.safetensors", b"weights")
    assert find_mirror(NAME, EncoderPin(), store) == prefix


def test_another_folder_under_the_same_name_is_refused_before_anything_is_mixed(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    prefix = mirror_from_folder(NAME, folder, EncoderPin(), store)
    assert mirror_from_folder(NAME, folder, EncoderPin(), store) == prefix, "the same again changes nothing"
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "config.json").write_text((folder / "config.json").read_text() + "\n")
    (other / "preprocessor_config.json").write_text("{}")
    before = names(store, prefix)
    with pytest.raises(BadInput, match=rf"{prefix}.*holds another encoder than {other}: config\.json differs"):
        mirror_from_folder(NAME, other, EncoderPin(), store)
    assert names(store, prefix) == before


def test_a_mirror_of_an_unknown_or_another_revision_does_not_pass_for_the_pinned_one(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    mirror_from_folder(NAME, folder, EncoderPin(), store)
    assert mirror_from_hub(NAME, EncoderPin(), store) == encoder_prefix(NAME)
    with pytest.raises(BadInput, match=f"is of an unknown revision, and {OTHER} is pinned"):
        mirror_from_hub(NAME, EncoderPin(revision=OTHER), store)
    sha256 = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    both = EncoderPin(revision=OTHER, sha256={"model.safetensors": sha256})
    assert mirror_from_hub(NAME, both, store) == encoder_prefix(NAME), "its bytes say that it is the pinned one"


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
    with pytest.raises(NoWeights, match="no model hub can be reached"):
        mirror_from_hub("nobody/nothing", EncoderPin(), store)


def test_a_name_that_the_hub_does_not_know_is_said(store: Store, hub: Hub) -> None:
    with pytest.raises(NoWeights, match="the hub answers 404"):
        mirror_from_hub("nobody/nothing", EncoderPin(), store)


def test_a_full_disk_is_not_taken_for_an_absent_hub(store: Store, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    with pytest.raises(OSError, match="No space left"):
        mirror_from_hub(NAME, EncoderPin(), store)
