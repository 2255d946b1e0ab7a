"""Tests of a model on local folders: on the test speakers of a split, or on every clip of another corpus."""

import csv
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_tasks.config import EmotionTask, StudyConfig
from ser_tasks.errors import BadInput
from ser_tasks.local import cached_build, described, read_json, run_build, scan_folder

ACROSS = "across"
"""In a folder that `ser split` made: the corpora that are tested across, each with scan, validate and pack."""


@dataclass(frozen=True)
class Tested:
    """A model on the test clips of one corpus.

    Attributes:
        metrics: metrics.json of the step `evaluate`.
        confusion: True label to predicted label to clips.
        without_label: Clips that were left out because the model does not have their label, by label.
        rejected: Files of the corpus that cannot be used.
    """

    metrics: dict[str, Any]
    confusion: dict[str, dict[str, int]]
    without_label: dict[str, int]
    rejected: int

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        more = {"confusion": self.confusion, "without_label": self.without_label, "rejected": self.rejected}
        return {**self.metrics, **more}


def measure_on_split(data_root: Path, study: StudyConfig, model: Path, include_seen: bool) -> list[Tested]:
    """Test on the test speakers of the training corpus, and on every corpus that was split off to test across.

    Args:
        data_root: Made by `ser split`.
        study: Its study.json.
        model: Of `ser train`.
        include_seen: Whether clips that the model has learnt from count.

    Raises:
        BadInput: There is nothing that the model can be tested on.
    """
    import pandas as pd

    labels, trained = _spec(model).labels, study.emotion.train_corpus
    split = pd.read_parquet(data_root / "split" / "test.parquet", columns=["corpus", "label"])
    across = {each.corpus: each for each in study.emotion.across if (data_root / ACROSS / each.corpus).is_dir()}
    order = study.emotion.labels
    given = {"labels": order, "resamples": study.bootstrap_resamples, "seed": study.seed, "include_seen": include_seen}
    found = []
    with tempfile.TemporaryDirectory(prefix="ser-test-") as own:
        rows = Path(own) / "rows"
        run_build("rows", {"split": data_root / "split"}, {"rows": "fit"}, rows)
        for corpus in [trained, *across]:
            held = split.loc[split["corpus"] == corpus, "label"].value_counts()
            _refuse_too_few(f"--data_root {data_root}: {corpus}", labels, held.to_dict(), "test on other data")
            folder = data_root if corpus == trained else data_root / ACROSS / corpus
            inputs = {"model": model, "split": data_root / "split", "audio": folder / "pack"}
            asked = {"corpus": corpus, "normalise": study.emotion.normalise}
            run_build("predict", inputs, asked, Path(own) / corpus)
            inputs = {"predictions": Path(own) / corpus, "model": model}
            if corpus != trained:
                inputs |= {"manifest": folder / "scan"}
                if set(labels) == set(study.emotion.labels):
                    inputs |= {"trained": data_root / "scan", "rows": rows}
            test_set = across.get(corpus)
            params = given | {
                "model": "local", "corpus": corpus, "relation": "across" if test_set else "within",
                "label_map": dict((test_set or study.emotion).label_map),
                "variants": {name: dict(changed) for name, changed in test_set.variants.items()} if test_set else {},
            }  # fmt: skip
            without = {str(label): int(n) for label, n in held.items() if label not in labels}
            found.append(_evaluated(inputs, params, Path(own) / f"{corpus}-metrics", without, folder / "scan"))
    return found


def absent_corpora(data_root: Path, study: StudyConfig) -> list[str]:
    """Corpora that the study tests across and that are not there, as in folders of before `ser split --across`."""
    return [each.corpus for each in study.emotion.across if not (data_root / ACROSS / each.corpus).is_dir()]


def measure_on_corpus(
    source: str, reader: str, label_map: Mapping[str, str], model: Path, include_seen: bool
) -> Tested:
    """Test on every clip of a corpus that has one of the model's labels.

    Args:
        source: A folder, a .zip or .tar, or s3://bucket/prefix.
        reader: A description, or auto.
        label_map: The corpus's emotions to labels of the model.
        model: Of `ser train`.
        include_seen: Whether clips that the model has learnt from count.

    Raises:
        BadInput: The corpus cannot be read, or fewer than two of its emotions are labels of the model.
    """
    from ser_tasks.builds.split import whole_corpus_as_test
    from ser_tasks.data.manifest import read_manifest

    labels = _spec(model).labels
    for emotion, label in label_map.items():
        if label not in labels:
            raise BadInput(f"--map {emotion}={label}: the model has no label {label}: it has {', '.join(labels)}")
    root, _, description = described(reader, source)
    corpus = description["name"]
    scan = scan_folder(root, corpus, description, None)
    emotions = read_manifest(scan / "manifest.parquet")["emotion"].fillna("unlabelled")
    held = emotions.map(dict(label_map)).fillna(emotions).value_counts()
    _refuse_too_few(
        f"--source_dir {source}", labels, held.to_dict(),
        "say with --map EMOTION=LABEL what its emotions count as, such as --map calm=neutral",
    )  # fmt: skip
    audio = cached_build("pack", {"raw": root, "scan": scan}, {}, {"scan": scan.name})
    with tempfile.TemporaryDirectory(prefix="ser-test-") as own:
        split = Path(own) / "split"
        split.mkdir()
        whole_corpus_as_test(scan, corpus, labels, label_map, split)
        asked = {"corpus": corpus, "normalise": EmotionTask.model_fields["normalise"].default}
        run_build("predict", {"model": model, "split": split, "audio": audio}, asked, Path(own) / "p")
        defaults = StudyConfig.model_fields
        params = {
            "model": "local", "corpus": corpus, "relation": "across", "labels": labels, "label_map": dict(label_map),
            "variants": {}, "resamples": defaults["bootstrap_resamples"].default, "seed": defaults["seed"].default,
            "include_seen": include_seen,
        }  # fmt: skip
        inputs = {"predictions": Path(own) / "p", "model": model, "manifest": scan}
        without = {str(label): int(n) for label, n in held.items() if label not in labels}
        return _evaluated(inputs, params, Path(own) / "metrics", without, scan)


def _evaluated(
    inputs: Mapping[str, Path], params: Mapping[str, Any], target: Path, without: dict[str, int], scan: Path
) -> Tested:
    run_build("evaluate", inputs, params, target)
    with (target / "confusion.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    confusion = {row[0]: dict(zip(header[1:], map(int, row[1:]), strict=True)) for row in rows}
    rejected = int(read_json(scan / "summary.json")["rejected"])
    return Tested(read_json(target / "metrics.json"), confusion, without, rejected)


def _spec(model: Path) -> Any:
    from ser_tasks.models.files import read_spec

    return read_spec(model)


def _refuse_too_few(what: str, labels: Sequence[str], held: Mapping[Any, int], way_out: str) -> None:
    """Raise BadInput where a corpus has clips of fewer than two of the model's labels."""
    shared = [label for label in labels if label in held]
    if len(shared) < 2:
        has = ", ".join(f"{n} {label}" for label, n in held.items()) or "no clip"
        raise BadInput(
            f"{what} has clips of {len(shared)} of the model's labels, and a test needs two: the model has "
            f"{', '.join(labels)}; there are {has}: {way_out}"
        )
