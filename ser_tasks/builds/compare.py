"""Step `compare`: UAR of wav2vec2 minus that of the CNN on the same clips, paired by speaker -> difference.json."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ser_tasks.builds.evaluate import test_confusion
from ser_tasks.evaluation.metrics import uar_difference


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: cnn, wav2vec2 (predictions). Params: corpus, labels, resamples, seed, note."""
    first, second = (test_confusion(inputs[name], params["labels"]) for name in ("cnn", "wav2vec2"))
    difference = uar_difference(first, second, params["resamples"], params["seed"])
    taint = json.loads((inputs["cnn"] / "protocol.json").read_text())["taint"]
    if taint:
        verdict = f"no verdict: {taint}"
    elif params["note"]:
        verdict = f"no verdict: wav2vec2 is {params['note']}"
    elif difference.low > 0:
        verdict = "wav2vec2 is better"
    elif difference.high < 0:
        verdict = "the CNN is better"
    else:
        verdict = "undecided: the interval holds 0"
    result = {
        "corpus": params["corpus"],
        "what": "UAR of wav2vec2 minus UAR of the CNN, same clips, 95 % interval by bootstrap over speakers",
        "speakers": len(first),
        **asdict(difference),
        "verdict": verdict,
    }
    (out / "difference.json").write_text(json.dumps(result, indent=1))
