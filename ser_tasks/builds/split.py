"""Step `split`: manifests -> who is in train, dev, gate and test; leakage stops the run.

Two files, so that what trains never opens what tests: fit.parquet (train, dev) and held_out.parquet (gate, test).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_tasks.data.manifest import read_manifest
from ser_tasks.data.split import audit_split, make_split, roles_by_hash, roles_by_list
from ser_tasks.errors import BadInput


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: scan/<corpus>. Params: train_corpus, labels, across, split."""
    manifests = {
        name.removeprefix("scan/"): read_manifest(folder / "manifest.parquet") for name, folder in inputs.items()
    }
    train_corpus = params["train_corpus"]
    speakers = list(manifests[train_corpus]["speaker_id"])
    how = params["split"]
    roles = (
        roles_by_hash(speakers, train_corpus, how["shares"])
        if how["policy"] == "hash"
        else roles_by_list(speakers, how["speakers"])
    )
    maps = {test["corpus"]: test["label_map"] for test in params["across"]}
    split, left_out = make_split(manifests, train_corpus, params["labels"], maps, roles)
    audit = audit_split(split)
    if audit["leaks"]:
        raise BadInput(f"split: {len(audit['leaks'])} leak(s) between roles. " + " | ".join(audit["leaks"][:5]))
    fit = split["role"].isin(["train", "dev"])
    split[fit].to_parquet(out / "fit.parquet", index=False)
    split[~fit].to_parquet(out / "held_out.parquet", index=False)
    left_out.to_csv(out / "left_out.csv", index=False)
    (out / "audit.json").write_text(json.dumps(audit, indent=1))
