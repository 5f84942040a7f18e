"""Seeded fuzzing of calls: the right value, or a ValueError that names the argument.

A quarter of the calls *dress* arguments, the same numbers in another container, type or
memory layout: the value must stay. So it must where arguments *disagree* in all but
their names, a quarter of the calls: rows of tables in different orders, columns of
outputs in another order or form, another state of torch or NumPy. The other half
*spoil* one argument: the error must name it. In all the arguments stay as they were,
and no call takes longer than a few seconds. CCH_FUZZ=15 makes 3,000 calls of each
function, a run of its own.
"""

from __future__ import annotations

import copy
import datetime
import os
import re
import signal
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import scipy.special
import torch

CALLS = 200 * int(os.environ.get("CCH_FUZZ", "1"))
SECONDS = 20


@dataclass
class Case:
    """A function, how its good arguments are drawn, and what each of them is.

    `kinds`: argument -> "array" (of numbers, any axes), "rows" (the first axis counts
    the samples), "labels" (whole numbers), "number", "whole", "seed", "choice",
    "outputs" (logits of classes 0, 1, …), or "other", which is only spoiled by `bad`,
    further values that must be refused, by argument. Arguments that are not listed stay
    as they are. `infinite`: arguments that may be infinite; `gaps`: arrays that may
    hold NaN. `also`: other names by which an error may call an argument. `named`:
    arguments whose rows are matched by the index of a table. `cost`: a call counts so
    often (estimators are slow). `of`: the public name that is fuzzed, where `call` has
    another.
    """

    call: Callable
    make: Callable[[np.random.Generator], dict[str, Any]]
    kinds: dict[str, str]
    bad: dict[str, list[Any]] = field(default_factory=dict)
    also: dict[str, str] = field(default_factory=dict)
    infinite: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    tolerance: float = 1e-9
    cost: int = 1
    of: str = ""

    @property
    def name(self) -> str:
        return self.of or self.call.__name__


def fuzz(case: Case) -> None:
    """Run a case's calls."""
    reference: dict[int, Any] = {}
    for number in range(max(10, CALLS // case.cost)):
        random = np.random.default_rng([number, 20])
        # a few draws of good arguments, whose values are computed once
        draw = number % 4
        good = case.make(np.random.default_rng(draw))
        if number % 2 == 0:
            if draw not in reference:
                reference[draw] = numbers_of(timed(case, good))
            dressed, state = dict(good), nullcontext()
            if number % 4 == 0:
                for name in chosen(random, case.kinds):
                    dressed[name] = dress(random, case.kinds[name], good[name])
            else:
                dressed |= disagreeing(random, case, good)
                state = STATES[random.integers(len(STATES))]()
            before = copy.deepcopy({name: plain(dressed[name]) for name in case.kinds})
            with state:
                found = numbers_of(timed(case, dressed))
            unchanged(before, dressed)
            np.testing.assert_allclose(
                found,
                reference[draw],
                rtol=case.tolerance,
                atol=case.tolerance,
                err_msg=described(dressed, good),
            )
        else:
            name = random.choice(sorted(case.kinds))
            values = spoiled(case.kinds[name], good[name]) + case.bad.get(name, [])
            if name in case.infinite:
                values = [v for v in values if not (np.isscalar(v) and v == np.inf)]
            if name in case.gaps:
                values = [v for v in values if not holds_nan(v)]
            value = values[random.integers(len(values))]
            refused(case, good, name, value)


#: of torch and NumPy, on which no value may depend
STATES = [nullcontext, torch.no_grad, lambda: np.errstate(all="raise")]


def disagreeing(
    random: np.random.Generator, case: Case, good: dict[str, Any]
) -> dict[str, Any]:
    """Arguments that fit one another by their names only."""
    changed: dict[str, Any] = {}
    if case.named:
        size = len(good[case.named[0]])
        ids = np.array([f"row {i}" for i in range(size)])
        for place, name in enumerate(case.named):
            value = np.asarray(good[name])
            kind = pd.Series if value.ndim == 1 else pd.DataFrame
            # the first keeps its order, which is then that of all
            order = random.permutation(size) if place else np.arange(size)
            changed[name] = kind(value[order], index=ids[order])
    for name, kind in case.kinds.items():
        if kind == "outputs" and name not in changed:
            changed[name] = of_outputs(random, np.asarray(good[name]))
    return changed


def of_outputs(random: np.random.Generator, logits: np.ndarray) -> Any:
    """The same probabilities in another form, with named columns or without."""
    shares = scipy.special.softmax(logits, 1)
    forms = [logits, logits - 3.0, np.log(shares), shares, 100 * shares]
    value = forms[random.integers(len(forms))]
    if random.random() < 0.5:
        return value
    order = random.permutation(value.shape[1])
    return pd.DataFrame(value[:, order], columns=[f"logit_{k}" for k in order])


def holds_nan(value: Any) -> bool:
    plain_array = type(value) is np.ndarray and value.dtype.kind == "f"
    return plain_array and bool(np.isnan(value).any())


def refused(case: Case, good: dict[str, Any], name: str, value: Any) -> None:
    """The call with `name` spoiled raises a ValueError that names it."""
    told = f"{case.call.__name__}({name}={value!r:.200})"
    names = "|".join(re.escape(n) for n in (name, *case.also.get(name, "").split()))
    try:
        result = timed(case, good | {name: value})
    except ValueError as error:
        assert re.search(rf"\b({names})\b", str(error)), f"{told} said: {error}"
    except TimeoutError:
        raise AssertionError(f"{told} took longer than {SECONDS} s") from None
    except Exception as error:
        raise AssertionError(f"{told} raised {error!r}") from error
    else:
        raise AssertionError(f"{told} gave {result!r:.200}")


def timed(case: Case, arguments: dict[str, Any]) -> Any:
    with limited():
        return case.call(**arguments)


@contextmanager
def limited():
    """TimeoutError after SECONDS of this process's time, for what would not end."""

    def over(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGPROF, over)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def chosen(random: np.random.Generator, kinds: dict[str, str]) -> list[str]:
    """At least one of the arguments."""
    names = sorted(kinds)
    return list(random.choice(names, random.integers(1, len(names) + 1), replace=False))


def dress(random: np.random.Generator, kind: str, value: Any) -> Any:
    """The same numbers in another form."""
    if kind in ("array", "rows", "labels", "outputs"):
        value = np.asarray(value)
        forms = LABEL_FORMS if kind == "labels" else ARRAY_FORMS
        forms = [form for form, axes in forms if axes is None or value.ndim in axes]
    elif kind == "number":
        forms = [float, np.float64, np.asarray]
        if float(np.float32(value)) == value:
            forms.append(np.float32)
    elif kind in ("whole", "seed"):
        forms = [int, np.int64, np.uint16]
    elif kind == "choice":
        forms = [str, np.str_]
    else:
        return value
    return forms[random.integers(len(forms))](value)


def _frozen(value: np.ndarray) -> np.ndarray:
    value = value.copy()
    value.flags.writeable = False
    return value


def _backwards(value: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(value[::-1])[::-1]


def _every_other(value: np.ndarray) -> np.ndarray:
    return np.repeat(value, 2, axis=0)[::2]


COMMON_FORMS = [
    (np.copy, None),
    (np.ndarray.tolist, None),
    (_frozen, None),
    (_backwards, (1, 2, 3)),
    (_every_other, (1, 2, 3)),
    (np.asfortranarray, None),
    (np.ma.array, None),
    (lambda value: torch.from_numpy(value.copy()), None),
    (pd.Series, (1,)),
    (pd.DataFrame, (2,)),
]
ARRAY_FORMS = [
    *COMMON_FORMS,
    (lambda value: value.astype(np.longdouble), None),
    (lambda value: value.astype(">f8"), None),
    (lambda value: torch.from_numpy(value.copy()).requires_grad_(), None),
    (lambda value: pd.Series(value, dtype="Float64"), (1,)),
]
LABEL_FORMS = [
    *COMMON_FORMS,
    (lambda value: value.astype(np.uint8), None),
    (lambda value: value.astype(">i4"), None),
    (lambda value: pd.Series(value, dtype="Int64"), (1,)),
]


def spoiled(kind: str, value: Any) -> list[Any]:
    """Values that no call may take for `kind`."""
    if kind in ("other", "outputs"):
        return []
    if kind == "choice":
        return [None, "", "no such", 3, [value], np.array([value])]
    if kind in ("whole", "seed"):
        return [None, -1, 1.5, "3", True, np.nan, [1], np.array([1]), {}, 1j]
    if kind == "number":
        masked = np.ma.array(1.0, mask=True)
        date = np.datetime64("NaT")
        return [None, np.nan, np.inf, "0.5", 1j, {}, masked, date, b"1"]

    value = np.asarray(value)
    masked = np.ma.array(value.astype(float), mask=np.zeros(value.shape, bool))
    if value.ndim:
        masked.mask.flat[0] = True
    bad = [
        None,
        "text",
        {},
        object(),
        1j * value,
        value.astype(object) + datetime.timedelta(0)
        if value.dtype == object
        else value.astype("m8[s]"),
        np.full(value.shape, "NaT", "M8[ns]"),
        np.full(value.shape, "a"),
        [[1.0], [1.0, 2.0]],
        torch.zeros(value.shape, device="meta"),
        torch.zeros(value.shape, dtype=torch.complex64),
    ]
    if value.ndim:
        bad.append(masked)
    if value.ndim == 2:
        bad += [scipy.sparse.csr_matrix(value), torch.zeros(value.shape).to_sparse()]
    for number in (np.nan, np.inf, -np.inf):
        holed = value.astype(float)
        holed.flat[-1] = number
        bad.append(holed)
    if kind in ("rows", "labels"):
        bad += [value[:0], value[:-1], value[0]]
    return bad


def plain(value: Any) -> Any:
    """What can be compared of an argument."""
    if isinstance(value, torch.Tensor):
        return value.detach().numpy().copy()
    if isinstance(value, (np.ndarray, pd.Series, pd.DataFrame)):
        return np.array(value)
    return value


def unchanged(before: dict[str, Any], after: dict[str, Any]) -> None:
    """The arguments are as they were."""
    for name, value in before.items():
        np.testing.assert_array_equal(plain(after[name]), value, err_msg=name)


def numbers_of(result: Any) -> np.ndarray:
    """The numbers of a result, in a row."""
    if isinstance(result, torch.Tensor):
        result = result.detach().numpy()
    if isinstance(result, (tuple, list)):
        return np.concatenate([numbers_of(part) for part in result])
    if isinstance(result, pd.DataFrame):
        return numbers_of(result.select_dtypes("number").to_numpy())
    return np.asarray(result, float).ravel()


def described(dressed: dict[str, Any], good: dict[str, Any]) -> str:
    changed = [name for name in dressed if dressed[name] is not good[name]]
    return ", ".join(f"{name}={dressed[name]!r:.200}" for name in changed)
