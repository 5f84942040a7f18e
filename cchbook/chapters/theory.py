"""The figures of the chapter on the Gaussian theory, one call each.

They draw frames that the notebook has computed, and compute nothing but the closed
forms of their lines.
"""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from cchbook.chapters.plots import COLORS
from cchlib.gaussian import RiskCoefficients, mixing_weight

ORANGE, BLUE, GREEN, PINK = (COLORS[k] for k in ("kd", "no_kd", "teacher", "gap"))
CYCLE = (BLUE, ORANGE, GREEN, PINK)
#: regions of the phase diagram, in the order of their numbers
REGIONS = {
    "no such covariance": "#eeeef2",
    "no λ helps": "#77777f",
    "CCH fails, only shrinking helps": "#ead9a8",
    "CCH holds, yet only shrinking helps": "#e3b5cf",
    "CCH fails, yet the teacher beats shrinking": "#eaa06a",
    "CCH holds, the teacher beats shrinking": "#7fb8d8",
}


def descent(curves: pd.DataFrame, risks: pd.DataFrame, spread: pd.DataFrame) -> None:
    """The risk over κ, and how it settles as p grows.

    Parameters
    ----------
    curves : columns κ, λ, limit
    risks : columns κ, λ, simulated, se
    spread : columns p, κ, error, se, spread (of the simulation), law (nan for κ < 1)
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.5))
    for (lam, curve), color, mark in zip(curves.groupby("λ"), CYCLE, "sDo^"):
        left.plot(curve["κ"], curve["limit"], color=color, lw=1.4)
        part = risks[risks["λ"] == lam]
        left.errorbar(
            part["κ"],
            part["simulated"],
            part["se"],
            fmt=mark,
            color=color,
            label=f"λ = {lam:g}",
            mfc="white",
            capsize=2,
        )
    left.axvline(1, color="0.6", lw=0.8, ls=":")
    left.set(xscale="log", yscale="log", xlabel="κ = n / p", ylabel="excess risk R")
    left.set_ylim(None, 30 * curves["limit"].median())
    left.set_xticks([0.1, 0.3, 1, 3, 10], ["0.1", "0.3", "1", "3", "10"])
    left.legend()
    for (kappa, part), color in zip(spread.groupby("κ"), CYCLE):
        right.errorbar(
            part["p"],
            part["error"].abs(),
            part["se"],
            fmt="o",
            color=color,
            capsize=2,
            label=f"error of the limit, κ = {kappa:g}",
        )
        label = f"spread over training sets, κ = {kappa:g}"
        right.plot(
            part["p"], part["spread"], "^", color=color, mfc="white", label=label
        )
        right.plot(part["p"], part["law"], color=color, lw=1)
    sizes = sorted(spread["p"].unique())
    right.set(xscale="log", yscale="log", ylim=(8e-4, 1))
    right.set(xlabel="features p", ylabel="relative to the risk")
    right.set_xticks(sizes, [str(size) for size in sizes])
    right.minorticks_off()
    right.legend(fontsize=7.5, loc="lower left")
    plt.show()


def parabolas(
    cases: Mapping[str, RiskCoefficients],
    simulated: pd.DataFrame,
    falling: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    """Risk over the mixing weight in three cases, and the best λ over κ.

    Parameters
    ----------
    cases : name -> coefficients
    simulated : columns case, weight, risk, se
    falling : label -> (κ, best λ)
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.4))
    weights = np.linspace(0, 1, 201)
    with np.errstate(divide="ignore"):
        lams = weights / (1 - weights)
    for (name, case), color, mark in zip(cases.items(), (ORANGE, PINK, GREEN), "osD"):
        left.plot(weights, case.risk(lams) / case.delta, color=color, label=name)
        part = simulated[simulated["case"] == name]
        left.errorbar(
            part["weight"],
            part["risk"] / case.delta,
            part["se"] / case.delta,
            fmt=mark,
            color=color,
            ms=4,
            capsize=2,
            mfc="white",
        )
        best = case.optimal_lambda
        height = case.risk(best) / case.delta
        left.plot(mixing_weight(best), height, "o", ms=11, mfc="none", mec=color)
    left.axhline(1, color="0.6", lw=0.8)
    left.set(xlabel="mixing weight λ / (1 + λ)", ylabel="R(λ) / R(0)", ylim=(0, 1.5))
    left.legend()
    for (label, (kappa, best)), color in zip(falling.items(), CYCLE):
        right.plot(kappa, best, color=color, label=label)
    right.axhline(1, color="0.6", lw=0.8, ls=":")
    right.set(xscale="log", yscale="log", ylim=(1e-3, 30))
    right.set(xlabel="κ = n / p", ylabel="best λ")
    right.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
    right.legend(title="bias of the imitation")
    plt.show()


def rates(held: pd.DataFrame) -> None:
    """A bar a column of booleans: how often each condition holds, in %."""
    figure, axis = plt.subplots(figsize=(7.2, 0.7 + 0.34 * held.shape[1]))
    share = 100 * held.mean()[::-1]
    error = np.sqrt(share * (100 - share) / len(held))
    axis.barh(share.index, share, color=BLUE, alpha=0.6, xerr=error, error_kw={"lw": 1})
    for at, value in enumerate(share):
        axis.text(value + 2, at, f"{value:.0f} %", va="center", fontsize=9)
    axis.set(xlabel=f"% of {len(held)} random covariances", xlim=(0, 108))
    axis.grid(axis="y", visible=False)
    plt.show()


def baselines(curves: pd.DataFrame, together: float) -> None:
    """Relative risk over λ with the teacher, with a silent one, and with both at best.

    Parameters
    ----------
    curves : columns λ, teacher, zero: risks over R(0)
    together : float
        Least risk of teacher and shrinking together, over R(0).
    """
    figure, axis = plt.subplots(figsize=(7.2, 3.0))
    weight = mixing_weight(curves["λ"])
    axis.plot(weight, curves["teacher"], color=ORANGE, label="this teacher, R(λ, w₁)")
    zero = {"color": "0.4", "ls": "--", "label": "a teacher that says 0, R(λ, 0)"}
    axis.plot(weight, curves["zero"], **zero)
    axis.axhline(1, color=BLUE, lw=1.2, label="no distillation, R(0)")
    axis.axhline(together, color=GREEN, lw=1.2, label="teacher and shrinking, best")
    deceived = (curves["teacher"] < curves["zero"]) & (curves["teacher"] > 1)
    axis.fill_between(weight, 0, 3, where=deceived, color=PINK, alpha=0.2, lw=0)
    ticks = np.array([0, 0.1, 0.3, 1, 2, 5])
    axis.set(xlabel="λ", ylabel="risk / R(0)", ylim=(0, 2), xlim=(0, weight.max()))
    axis.set_xticks(mixing_weight(ticks), [f"{tick:g}" for tick in ticks])
    axis.legend(ncol=2)
    plt.show()


def phase(maps: Mapping[float, pd.DataFrame], line: pd.DataFrame) -> None:
    """Where distilling helps, a panel a σ13.

    Parameters
    ----------
    maps : σ13 -> frame of regions (numbers of REGIONS; rows σ23, columns σ12)
    line : columns σ12, σ23: points to mark in the last panel
    """
    figure, axes = plt.subplots(1, len(maps), figsize=(9.2, 3.9), sharey=True)
    levels = np.arange(len(REGIONS) + 1) - 0.5
    for axis, (s13, regions) in zip(axes, maps.items()):
        a, b = regions.columns.to_numpy(), regions.index.to_numpy()
        axis.contourf(a, b, regions, levels=levels, colors=[*REGIONS.values()])
        exists = regions.to_numpy() > 0
        _boundary(axis, regions, s13 * b, exists, {"lw": 2})
        for sign in (1, -1):
            _boundary(axis, regions, sign * b, exists, {"ls": "--", "lw": 1.4})
        eq_17 = (s13**2 + b**2 - 1) / (s13 * b)
        _boundary(axis, regions, eq_17, exists, {"ls": ":", "lw": 1.4})
        axis.set(title=f"σ₁₃ = {s13:g}", xlabel="σ₁₂", xlim=(-1, 1))
        axis.grid(visible=False)
    axes[0].set_ylabel("σ₂₃")
    axes[-1].plot(line["σ12"], line["σ23"], "k.", ms=4)
    handles = [plt.Rectangle((0, 0), 1, 1, color=color) for color in REGIONS.values()]
    figure.legend(handles, [*REGIONS], loc="outside lower center", ncol=3, fontsize=7.5)
    plt.show()


def _boundary(
    axis: Axes, regions: pd.DataFrame, at: np.ndarray, exists: np.ndarray, style: dict
) -> None:
    """The curve σ12 = at(σ23), where a covariance exists."""
    columns = regions.columns.to_numpy()
    nearest = np.abs(columns - at[:, None]).argmin(1)
    there = exists[np.arange(len(at)), nearest] & (np.abs(at) <= 1)
    axis.plot(np.where(there, at, np.nan), regions.index, color="k", **style)


def line(gains: pd.DataFrame, turns: Mapping[str, float]) -> None:
    """Gains along a line of σ12, a curve a column; `turns`: label -> where a rule
    turns.
    """
    figure, axis = plt.subplots(figsize=(7.2, 3.2))
    for name, color in zip(gains, (GREEN, BLUE, ORANGE, PINK)):
        axis.plot(gains.index, gains[name], color=color, label=name)
    for (label, at), dash in zip(turns.items(), ("-", "--")):
        axis.axvline(at, color="0.3", ls=dash, lw=1, label=label)
    axis.axhline(0, color="0.5", lw=0.8)
    axis.set(xlabel="σ₁₂", ylabel="gain, % of R(0)", ylim=(-60, 60))
    axis.legend(ncol=2, fontsize=7.5)
    plt.show()


def pairs(turns: pd.DataFrame) -> None:
    """Least σ12 over r, a curve a column: this teacher, any teacher, the CCH."""
    figure, axis = plt.subplots(figsize=(7.2, 3.0))
    styles = ({"color": GREEN, "lw": 2}, {"color": "k", "ls": "-."}, {"color": ORANGE})
    for name, style in zip(turns, styles):
        axis.plot(turns.index, turns[name], label=name, **style)
    first, last = turns.iloc[:, 0], turns.iloc[:, -1]
    axis.fill_between(turns.index, first, last, color=ORANGE, alpha=0.15, lw=0)
    axis.set(xscale="log", xlabel="r = (n + m) / n", ylabel="σ₁₂ above", ylim=(0, 0.5))
    ticks = [1, 2, 5, 10, 20]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.legend()
    plt.show()


def gain(curves: pd.DataFrame, scores: pd.DataFrame) -> None:
    """Predicted and true gain over λ, and z-scores over refits.

    Parameters
    ----------
    curves : columns λ, predicted, se, true, mean
    scores : columns this, mean
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.3))
    weight, wide = mixing_weight(curves["λ"]), 1.96 * curves["se"]
    low, high = curves["predicted"] - wide, curves["predicted"] + wide
    left.fill_between(weight, low, high, color=ORANGE, alpha=0.2, lw=0)
    for name, label, style in (
        ("predicted", "predicted from two fits", {"color": ORANGE}),
        ("true", "true, this student", {"color": "k", "ls": "--"}),
        ("mean", "mean over training sets", {"color": BLUE, "ls": ":"}),
    ):
        left.plot(weight, curves[name], label=label, **style)
    left.axhline(0, color="0.6", lw=0.8)
    ticks = np.array([0, 0.3, 1, 3, 10])
    left.set(xlabel="λ", ylabel="gain in squared error")
    left.set_xticks(mixing_weight(ticks), [f"{tick:g}" for tick in ticks])
    left.legend()
    bins = np.linspace(-6, 6, 37)
    filled = {"color": ORANGE, "alpha": 0.6, "label": "against this student's gain"}
    right.hist(scores["this"], bins, density=True, **filled)
    outline = {"histtype": "step", "color": BLUE, "lw": 1.5}
    outline["label"] = "against the mean gain"
    right.hist(scores["mean"], bins, density=True, **outline)
    right.plot(bins, np.exp(-(bins**2) / 2) / np.sqrt(2 * np.pi), "k", lw=1)
    right.set(xlabel="z", ylabel="density over refits", xlim=(-6, 6))
    right.legend(fontsize=7.5)
    plt.show()
