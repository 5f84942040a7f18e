"""A value does not depend on the state of torch and NumPy in which it is asked for."""

import numpy as np
import pytest
import torch

from cchlib import estimate_mi
from cchlib.ambient import own_state

STATES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "meta device": lambda: torch.device("meta"),
    "errors raised": lambda: np.errstate(all="raise"),
    "float64": None,
}
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((80, 2))
Y = X[:, :1] + RANDOM.standard_normal((80, 1))


def asked(method):
    options = {} if method == "gaussian" else {"epochs": 3}
    return estimate_mi(X, Y, method, device="cpu", **options).value


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("method", ["mine", "gaussian"])
def test_an_estimate_is_the_same_in_any_state(state, method):
    wanted = asked(method)
    if state != "float64":
        with STATES[state]():
            assert asked(method) == wanted
        return
    torch.set_default_dtype(torch.float64)
    try:
        assert asked(method) == wanted
        assert torch.get_default_dtype() == torch.float64  # as the caller had it
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_caller_s_state_comes_back_after_an_error():
    with torch.no_grad(), np.errstate(all="raise"):
        with pytest.raises(RuntimeError), own_state():
            assert torch.is_grad_enabled()
            raise RuntimeError
        assert not torch.is_grad_enabled()
        assert np.geterr()["under"] == "raise"
