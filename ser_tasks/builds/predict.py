"""Step `predict`: a model and one corpus -> predictions.parquet, protocol.

A row a clip: utterance, target, role, `seen` (whether the model has learnt from it: see ser_tasks.data.learnt.seen),
probabilities. adapted.parquet has the test clips' once more for each way in which they may be adapted without labels.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ser_tasks.audio.packed import PackedAudio
from ser_tasks.builds.adapt import predict_adapted
from ser_tasks.builds.rows import unpacked
from ser_tasks.data.learnt import read_learnt, seen, sketch
from ser_tasks.data.split import COLUMNS
from ser_tasks.errors import BadInput
from ser_tasks.inference.predict import predict_and_embed_packed
from ser_tasks.models.adapted import load_adapted
from ser_tasks.models.files import load_model


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: model, split, audio. Params: corpus, normalise (of "speaker" and "corpus": see builds.adapt).

    Predicts dev, gate and test clips, never training clips; clips whose label the model does not have are passed over.
    """
    model, spec = load_model(inputs["model"])
    parts = [pd.read_parquet(inputs["split"] / f"{name}.parquet") for name in ("fit", "gate", "test")]
    split = pd.concat([part for part in parts if len(part)])
    split = split[split["label"].isin(spec.labels)]
    rows = split[(split["corpus"] == params["corpus"]) & (split["role"] != "train")].sort_values("utterance_id")
    if rows.empty:
        raise BadInput(
            f"predict: the split holds no clip of {params['corpus']} with one of the model's labels "
            f"({', '.join(spec.labels)})"
        )
    variants = _variants(inputs["split"] / "variants.parquet", params["corpus"])
    variants = variants[variants["label"].isin(spec.labels)]
    asked = pd.concat([rows, variants]).drop_duplicates("utterance_id", ignore_index=True)
    with unpacked(inputs["audio"], sorted(set(asked["speaker_id"]))) as audio:
        clips = [audio.index_of(name) for name in asked["utterance_id"]]
        probabilities, embeddings = predict_and_embed_packed(model, audio, clips, len(spec.labels))
        known = _seen(inputs, asked, audio)
    columns = [f"p_{label}" for label in spec.labels]
    found = pd.DataFrame(probabilities, columns=columns, index=pd.Index(asked["utterance_id"]))
    found.insert(0, "seen", known.to_numpy())
    _table(rows, found).to_parquet(out / "predictions.parquet", index=False)
    if len(variants):
        _table(variants, found).assign(variant=list(variants["variant"])).to_parquet(
            out / "variants.parquet", index=False
        )
    is_test = (rows["role"] == "test").to_numpy()
    if is_test.any() and params["normalise"] and (head := load_adapted(inputs["model"])):
        tested = rows[is_test]
        adapted = predict_adapted(head, embeddings[: len(rows)][is_test], tested, spec.labels, params["normalise"])
        about = _table(tested, found)[["utterance_id", "corpus", "speaker_id", "role", "target", "seen"]]
        about.merge(adapted, on="utterance_id").to_parquet(out / "adapted.parquet", index=False)
    shutil.copyfile(inputs["split"] / "protocol.json", out / "protocol.json")


def _variants(path: Path, corpus: str) -> pd.DataFrame:
    """The corpus's test clips under other label maps."""
    frame = pd.read_parquet(path) if path.is_file() else pd.DataFrame(columns=[*COLUMNS, "variant"])
    return frame[frame["corpus"] == corpus].sort_values("utterance_id")


def _seen(inputs: Mapping[str, Path], asked: pd.DataFrame, audio: PackedAudio) -> "pd.Series[str]":
    """How the model has seen each clip; empty for all of a model of which that is not known.

    Dev clips choose among a model's weights, and are chosen on again: of them only those count as seen that were
    trained on, as under another split.
    """
    learnt = read_learnt(inputs["model"])
    if learnt is None:
        return pd.Series("", index=asked.index, dtype="str")
    clips = sketch(asked, audio, inputs["audio"])
    dev = clips["role"] == "dev"
    trained = learnt.of_roles(["train"])
    return pd.concat([seen(trained, clips[dev]), seen(learnt, clips[~dev])]).reindex(asked.index)


def _table(rows: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Rows of a split with what the model gave for them."""
    about = rows[["utterance_id", "corpus", "speaker_id", "role"]].assign(target=rows["label"])
    return pd.concat([about.reset_index(drop=True), found.loc[rows["utterance_id"]].reset_index(drop=True)], axis=1)
