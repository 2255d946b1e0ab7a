"""Step `split`: manifests -> who is in train, dev, gate and test; leakage stops the run.

A table for each purpose, so that what trains never opens what decides or tests: fit.parquet (train, dev), gate.parquet
and test.parquet.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ser_tasks.data.audit import audit_split
from ser_tasks.data.manifest import read_manifest
from ser_tasks.data.split import (
    COLUMNS,
    assign_roles,
    make_split,
    proposed_roster,
    protocol,
    refuse_empty_roles,
    refuse_few_labels,
    roles_of_speakers,
    wanted_roles,
)
from ser_tasks.data.targets import mapped, perceived
from ser_tasks.errors import BadInput

TABLES = {"fit": ("train", "dev"), "gate": ("gate",), "test": ("test",)}
SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: scan/<corpus>, pack/<corpus> (optional), annotations (optional).

    Params: train_corpus, labels, label_map (of the training corpus; optional), across, split, roster, policy (of
    labels).

    Raises:
        BadInput: The policy does not fit the corpus, a role lacks a class, or the audit finds a leak.
    """
    how, train_corpus, roster = params["split"], params["train_corpus"], params["roster"]
    maps = {test["corpus"]: test["label_map"] for test in params["across"]}
    corpora = list(dict.fromkeys([train_corpus, *maps]))
    rated = pd.read_parquet(inputs["annotations"] / "ratings.parquet") if "annotations" in inputs else None
    manifests = {corpus: read_manifest(inputs[f"scan/{corpus}"] / "manifest.parquet") for corpus in corpora}
    # before a majority is taken: two votes for happy and two for excited are four for happy
    label_map = params.get("label_map", {})
    merged = manifests[train_corpus]["emotion"].value_counts()
    manifests[train_corpus] = mapped(manifests[train_corpus], label_map)
    manifests = {
        corpus: perceived(manifest, rated, params["policy"], label_map if corpus == train_corpus else None)
        for corpus, manifest in manifests.items()
    }
    roles = assign_roles(manifests[train_corpus], train_corpus, how, roster)
    split, left_out = make_split(manifests, train_corpus, params["labels"], maps, roles)
    wanted = wanted_roles(how)
    proposed = proposed_roster(manifests[train_corpus], train_corpus, how, roster, wanted)
    refuse_empty_roles(split, corpora, params["labels"], wanted, proposed)
    said = protocol(how, train_corpus, roster, split)
    for emotion, label in label_map.items():
        said["description"] += f"; {emotion} counts as {label} ({merged.get(emotion, 0)} clips of the corpus)"
    said |= {"labels": params["policy"], "evaluation": _evaluation(split)}
    audit = audit_split(split, _fingerprints(inputs, corpora), said["speaker_dependent"])
    if leaks := audit["leaks"]:
        raise BadInput(
            f"split: {len(leaks)} leak(s) between roles: {' | '.join(leaks[:5])}. Take the copies out of the corpus "
            "or give the speakers concerned one role (split.policy: speakers)"
        )
    _write_tables(split, out)
    if len(variants := _variants(params, manifests, roles)):
        variants.to_parquet(out / "variants.parquet", index=False)
    left_out.to_csv(out / "left_out.csv", index=False)
    for name, value in (("audit", audit), ("protocol", said), ("roles", roles_of_speakers(split))):
        (out / f"{name}.json").write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")


def whole_corpus_as_test(
    scan: Path, corpus: str, labels: Sequence[str], label_map: Mapping[str, str], out: Path
) -> pd.DataFrame:
    """Write the tables of a split in which every clip of one corpus is test, as of a corpus that is tested across.

    Args:
        scan: Of the corpus.
        corpus: Its name there.
        labels: That clips may have after `label_map`, which maps emotions; others are left out.
        label_map: Emotion to label.
        out: The folder.

    Returns:
        left_out: utterance_id, corpus, reason.
    """
    manifest = read_manifest(scan / "manifest.parquet")
    split, left_out = make_split({corpus: manifest}, "", labels, {corpus: label_map}, pd.Series(dtype="str"))
    _write_tables(split, out)
    people = split["speaker_id"].nunique()
    said = {
        "policy": "whole corpus",
        "description": f"{corpus}: every clip with one of the model's labels is test ({people} speakers)",
        "speaker_dependent": False, "taint": "", "labels": "intended", "evaluation": _evaluation(split),
    }  # fmt: skip
    (out / "protocol.json").write_text(json.dumps(said, indent=1, ensure_ascii=False), encoding="utf-8")
    return left_out


def _write_tables(split: pd.DataFrame, out: Path) -> None:
    for name, its in TABLES.items():
        rows = split.loc[split["role"].isin(its), COLUMNS]
        pq.write_table(pa.Table.from_pandas(rows, SCHEMA, preserve_index=False), out / f"{name}.parquet")


def _variants(params: Mapping[str, Any], manifests: Mapping[str, pd.DataFrame], roles: pd.Series) -> pd.DataFrame:
    """Test clips of other corpora under other label maps: the columns of a split, and `variant`."""
    train_corpus, found = params["train_corpus"], []
    for test in params["across"]:
        for name, label_map in test["variants"].items():
            only = {test["corpus"]: manifests[test["corpus"]]}
            rows, _ = make_split(only, train_corpus, params["labels"], {test["corpus"]: label_map}, roles)
            refuse_few_labels(set(rows["label"]), f"{test['corpus']}, {name},", params["labels"])
            found.append(rows[COLUMNS].assign(variant=name))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _evaluation(split: pd.DataFrame) -> str:
    """Names what is decided and reported on: it differs as soon as a clip or a label of gate or test does."""
    judged = split.loc[split["role"].isin(["gate", "test"]), ["corpus", "utterance_id", "label", "role"]]
    return hashlib.sha256(judged.sort_values(["corpus", "utterance_id"]).to_csv(index=False).encode()).hexdigest()[:12]


def _fingerprints(inputs: Mapping[str, Path], corpora: list[str]) -> pd.DataFrame | None:
    """Of every corpus whose packed audio has them; None when none has."""
    files = {name: inputs[f"pack/{name}"] / "fingerprints.parquet" for name in corpora if f"pack/{name}" in inputs}
    frames = [pd.read_parquet(file).assign(corpus=name) for name, file in files.items() if file.is_file()]
    return pd.concat(frames, ignore_index=True) if frames else None
