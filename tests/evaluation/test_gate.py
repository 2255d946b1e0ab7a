"""The gate's verdicts, one case each."""

import pytest

from ser_tasks.evaluation.gate import GateOptions, decide
from ser_tasks.evaluation.metrics import Estimate

SAME = Estimate(0.0, -0.01, 0.01)


@pytest.mark.parametrize(
    ("difference", "speakers", "corpora", "slices", "verdict"),
    [
        (None, 10, {}, [], "first"),
        (Estimate(0.05, 0.01, 0.09), 10, {}, [], "pass"),
        (SAME, 10, {}, [], "pass"),
        (Estimate(-0.1, -0.2, -0.05), 10, {}, [], "fail"),
        (Estimate(-0.1, -0.2, -0.05), 2, {}, [], "fail"),
        (Estimate(-0.03, -0.09, 0.02), 10, {}, [], "fail"),
        (Estimate(0.03, -0.05, 0.09), 10, {}, [], "undecided"),
        (Estimate(0.05, 0.01, 0.09), 2, {}, [], "undecided"),
        (Estimate(0.05, 0.01, 0.09), 10, {"ravdess": Estimate(-0.08, -0.1, -0.05)}, [], "fail"),
        (Estimate(0.05, 0.01, 0.09), 10, {"ravdess": SAME}, [], "pass"),
        (SAME, 10, {}, [{"by": "sex", "group": "female", "clips": 200, "difference": Estimate(-0.2, -0.3, 0)}], "fail"),
        (SAME, 10, {}, [{"by": "sex", "group": "female", "clips": 20, "difference": Estimate(-0.2, -0.3, 0)}], "pass"),
    ],
)
def test_verdicts(difference, speakers, corpora, slices, verdict) -> None:  # type: ignore[no-untyped-def]
    found = decide(difference, speakers, "gate", corpora, slices, GateOptions())
    assert found["verdict"] == verdict, found["sentence"]
    assert all(criterion["sentence"] for criterion in found["criteria"])


def test_every_criterion_is_written_out_with_its_numbers() -> None:
    found = decide(Estimate(0.03, -0.05, 0.09), 10, "gate", {"ravdess": SAME}, [], GateOptions())
    assert [criterion["held"] for criterion in found["criteria"]] == [False, True]
    assert "+0.030 (-0.050 to +0.090)" in found["criteria"][0]["sentence"]
    assert "A person decides" in found["sentence"]
