import pytest
import torch

from ser_tasks.errors import BadInput
from ser_tasks.training.device import autocast, choose_device


def test_auto_takes_a_gpu_where_there_is_one() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_not_silently_replaced() -> None:
    with pytest.raises(BadInput, match="finds no GPU"):
        choose_device("cuda")


def test_precision_decides_what_a_product_is_computed_in() -> None:
    for precision, expected in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        with autocast(torch.device("cpu"), precision):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_unknown_names_are_refused() -> None:
    with pytest.raises(BadInput, match="'tpu'"):
        choose_device("tpu")
    with pytest.raises(BadInput, match="'fp8'"):
        autocast(torch.device("cpu"), "fp8")
