"""The one rule by which a gain is called.

A gain is estimated from a few trainings, so its own spread is a poor measure of its
error. `judge` moderates the spread of each condition by that of its neighbours, adds
the luck of the test samples once, and holds the share of false calls over all
conditions together. Every page, table and tool takes its counts from there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import digamma, polygamma

from cchlib import check

COLUMNS = ("chapter", "baseline", "condition", "seed", "gain")
KEYS = ["chapter", "baseline", "condition"]
#: a baseline with fewer conditions than this says too little of their common variance
FEW_CONDITIONS = 3


def judge(frame: pd.DataFrame, rate: float = 0.05) -> pd.DataFrame:
    """Which conditions help, which harm, and which can't be told from no effect.

    The estimand is the expected gain over new seeds *and* new test samples. Training
    data are fixed where a seed names a training (images, sentiment), and drawn again
    where it names a sample or a split (synthetic, omics).

    Parameters
    ----------
    frame : DataFrame
        A row a seed (or a split): ``chapter``, ``baseline`` (the plain students
        that the gain is measured against), ``condition``, ``seed``, ``gain`` (positive
        where distilling is better; one unit a chapter). Optional:

        ``sample_error``
            Standard error of the condition's mean gain that comes from the test samples
            which all its seeds share (`shared_sample_error`), in the units of the gain;
            the same in all rows of a condition, 0 where each seed has test samples of
            its own. A column that is missing counts as 0.
        ``test_share``
            Where seeds are repeated splits of the same samples: the share of the
            samples that each split tests on, in [0, 1); 0 elsewhere. Such splits
            overlap, and the variance of their mean is widened as Nadeau and Bengio
            (2003) do.
    rate : float
        False discovery rate over all conditions in `frame`, in (0, 1].

    Returns
    -------
    DataFrame
        A row a condition, in the order of their first rows: ``chapter``, ``baseline``,
        ``condition``, ``mean`` and ``std_error`` (units of the gain), ``df``,
        ``p_value`` (two-sided), ``q_value`` (Benjamini and Hochberg's) and ``verdict``:
        "helps", "harms" or "undecided". A condition of one seed has no error: its
        std_error, df, p_value and q_value are nan, and it is undecided. So is one in
        which nothing ever varied, since a spread of zero is no estimate of one.

    Raises
    ------
    ValueError
        A column is missing; a gain or an error is NaN or infinite; an error is
        negative or differs within a condition; a condition has a seed twice; `rate` or
        a test share is out of range.

    Notes
    -----
    With d = n − 1 degrees of freedom for the variance s² of n gains, the variance that
    counts is (d₀ s₀² + d s²)/(d₀ + d), with d₀ + d degrees of freedom (Smyth, 2004).
    The prior's location s₀² is fitted to the log variances of one baseline, its d₀ to
    those of one chapter; variances of 0 are left out of the fit. Conditions that share
    seeds and a baseline share the luck of its plain students, so their m variances know
    less than m (n − 1) degrees of freedom: of normal gains with correlations ρ,
    (n − 1) m² / Σρ², with the mean ρ² of all baselines of a chapter. A condition's
    total never exceeds these, so d₀ is at most that less d. (With d₀ itself at most
    that, a simulation from the recorded runs called something in 11 % of draws without
    any effect.)

    The luck of shared test samples is a constant of all seeds: it adds to the variance
    of the mean, and the degrees of freedom stay those of the spread over seeds, which a
    bound on that luck must not raise.

    References
    ----------
    Smyth (2004). Linear models and empirical Bayes methods for assessing differential
    expression in microarray experiments. Stat. Appl. Genet. Mol. Biol. 3(1).
    Nadeau & Bengio (2003). Inference for the generalization error. Machine Learning 52.
    Benjamini & Hochberg (1995). Controlling the false discovery rate. JRSS B 57.
    """
    check.within("rate", rate, 0.0, 1.0, open_low=True)
    frame = _checked(frame)
    table = _summary(frame)
    chapters = frame.groupby("chapter", sort=False)
    moderated = [
        _moderated(table[table["chapter"] == name], rows) for name, rows in chapters
    ]
    nothing = pd.DataFrame(columns=["variance", "df"], dtype=float)
    table = table.join(pd.concat(moderated) if moderated else nothing)

    overlap = table["test_share"] / (1 - table["test_share"])
    of_seeds = table["variance"] * (1 / table["n"] + overlap)
    error = np.sqrt(of_seeds + table["sample_error"] ** 2)
    table["std_error"] = error.where(table["n"] > 1)
    statistic = table["mean"].abs() / table["std_error"].where(table["std_error"] > 0)
    table["p_value"] = 2 * stats.t.sf(statistic, table["df"])
    table["q_value"] = false_discovery(table["p_value"])

    called = table["q_value"] <= rate
    words = np.where(table["mean"] > 0, "helps", "harms")
    table["verdict"] = np.where(called, words, "undecided")
    shown = ["mean", "std_error", "df", "p_value", "q_value", "verdict"]
    return table[[*KEYS, *shown]].reset_index(drop=True)


def false_discovery(p_values: pd.Series) -> pd.Series:
    """Benjamini and Hochberg's adjusted p-values; nan stays nan and counts nowhere."""
    adjusted = pd.Series(np.nan, index=p_values.index)
    known = p_values.notna()
    if known.any():
        adjusted[known] = stats.false_discovery_control(p_values[known])
    return adjusted


def moderation_prior(
    variances: Any, df: Any, strata: Any = None
) -> tuple[np.ndarray, float]:
    """The inverse-χ² prior that fits a set of sample variances.

    Parameters
    ----------
    variances : (m,) positive
        Sample variances s².
    df : (m,) or float
        Their degrees of freedom, ≥ 1.
    strata : (m,) of hashables, optional
        Each has a location of its own; their spread about it is common.

    Returns
    -------
    location : array (m,)
        s₀², of each variance's stratum.
    prior_df : float
        d₀; inf where the variances vary no more than their sampling explains, 0 where
        there are no more variances than strata, which leaves nothing to fit.

    Notes
    -----
    log s² less its sampling mean has the prior's location as its mean, and the variance
    ψ′(d/2) + ψ′(d₀/2); both are solved by moments (Smyth, 2004, section 6.2; with
    strata in place of his constant, as limma's trend).
    """
    variances = np.asarray(variances, float)
    df = np.broadcast_to(np.asarray(df, float), variances.shape)
    strata = np.zeros(len(variances), int) if strata is None else np.asarray(strata)
    level = pd.Series(np.log(variances) - digamma(df / 2) + np.log(df / 2))
    names = pd.Series(strata, dtype=object)
    centre = level.groupby(names, sort=False).transform("mean").to_numpy()
    left = len(level) - names.nunique()
    if left < 1:
        return np.exp(centre), 0.0

    spread = ((level - centre) ** 2).sum() / left - polygamma(1, df / 2).mean()
    if spread <= 0:
        return np.exp(centre), np.inf
    prior_df = 2 * inverse_trigamma(float(spread))
    shift = digamma(prior_df / 2) - np.log(prior_df / 2)
    return np.exp(centre + shift), prior_df


def inverse_trigamma(value: float) -> float:
    """The y > 0 with ψ′(y) = value > 0, by Newton's method (Smyth, 2004, appendix)."""
    y = 0.5 + 1 / value
    for _ in range(50):
        at = polygamma(1, y)
        step = float(at * (1 - at / value) / polygamma(2, y))
        y += step
        if abs(step) < 1e-12 * y:
            break
    return float(y)


def effective_df(gains: np.ndarray, mean_square: float | None = None) -> float:
    """Degrees of freedom of the mean of the variances of correlated columns.

    (n − 1) m² / Σρ² for the m columns of `gains` (n, m); m (n − 1) were they
    independent, n − 1 were they one. `mean_square` is the mean of ρ² over pairs of
    columns; by default that of `gains` (`mean_squared_correlation`).
    """
    rows, columns = gains.shape
    if mean_square is None:
        mean_square, _ = mean_squared_correlation(gains)
    total = columns + columns * (columns - 1) * mean_square
    return float((rows - 1) * columns**2 / total)


def mean_squared_correlation(gains: np.ndarray) -> tuple[float, int]:
    """Mean of ρ² over pairs of columns of `gains` (n, m), and the number of pairs.

    Of few rows a sample correlation is too large on average, even where there is none,
    which leaves fewer degrees of freedom than there are: corrected for it, a simulation
    from the recorded runs called something in 10 % of draws without any effect. (1, 0)
    for a single column.
    """
    columns = gains.shape[1]
    pairs = columns * (columns - 1) // 2
    if not pairs:
        return 1.0, 0
    # a column that never varied has no correlation, and knows nothing more than others
    moves = gains.std(0) > 0
    squares = np.ones((columns, columns))
    if moves.any():
        known = np.corrcoef(gains[:, moves], rowvar=False) ** 2
        squares[np.ix_(moves, moves)] = known
    return float((squares.sum() - columns) / (2 * pairs)), pairs


def shared_sample_error(differences: Any) -> float:
    """Standard error of a mean gain that comes from test samples which all seeds share.

    The spread of a gain over seeds already holds what the test samples do to each
    network alone. What they do to all networks alike is the covariance, over samples,
    between the differences of two seeds; its mean over all pairs of seeds is the
    variance here.

    Parameters
    ----------
    differences : array (seeds, n)
        Of each seed and test sample, what distilling adds to the sample's share of the
        score: right (1) or wrong (0) with it less without; the loss without less with.

    Returns
    -------
    float
        ``√(mean covariance / n)`` for `judge`, 0 where that is negative. Of one seed,
        which has no pair, the whole error over samples: the most that it could be.
    """
    differences = np.atleast_2d(check.finite("differences", differences)).astype(float)
    seeds, n = differences.shape
    if n < 2:
        raise ValueError(f"`differences` must have 2 samples or more, got {n}")
    return _shared(np.cov(differences) / n, seeds)


def shared_error_of_draws(gains: Any) -> float:
    """`shared_sample_error` of a score that is no mean over samples, such as F1.

    Parameters
    ----------
    gains : array (seeds, draws)
        The gain of each seed on bootstrap resamples of the test samples, the same
        resamples for all seeds.
    """
    gains = np.atleast_2d(check.finite("gains", gains)).astype(float)
    if gains.shape[1] < 2:
        raise ValueError(f"`gains` must have 2 draws or more, got {gains.shape[1]}")
    return _shared(np.cov(gains), len(gains))


def _shared(covariance: np.ndarray, seeds: int) -> float:
    if seeds == 1:
        return float(np.sqrt(covariance))
    between = covariance.sum() - np.trace(covariance)
    return float(np.sqrt(max(between, 0.0) / (seeds * (seeds - 1))))


def mcnemar(right: Any, also_right: Any) -> tuple[int, int, float]:
    """McNemar's exact test of two classifiers on the same samples.

    Parameters
    ----------
    right, also_right : boolean arrays (n,)

    Returns
    -------
    (only_first, only_second, p_value)
        Samples that only one of them has right, and the two-sided binomial p-value of
        that split; 1 where they never differ.
    """
    right = np.asarray(right, bool)
    also_right = np.asarray(also_right, bool)
    check.same_length(right=right, also_right=also_right)
    first = int((right & ~also_right).sum())
    second = int((also_right & ~right).sum())
    if first + second == 0:
        return 0, 0, 1.0
    return first, second, float(stats.binomtest(first, first + second).pvalue)


def log_loss(probabilities: Any) -> np.ndarray:
    """Mean of −ln p, nats, over the last axis of the probabilities (..., n) of the true
    classes.

    Stored as half floats, a probability below 2⁻²⁴ reads as 0: it counts as that.
    """
    p = check.finite("probabilities", probabilities).astype(float)
    check.within("probabilities", p, 0.0, 1.0)
    return -np.log(np.maximum(p, 2.0**-24)).mean(-1)


def _checked(frame: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise ValueError(
            f"`frame` must have the columns {', '.join(COLUMNS)}; "
            f"{', '.join(missing)} missing"
        )
    frame = frame.assign(
        sample_error=frame.get("sample_error", 0.0),
        test_share=frame.get("test_share", 0.0),
    )
    for name in (*KEYS, "seed"):
        if frame[name].isna().any():
            raise ValueError(f"`frame` must have no missing value in {name}")
    for name in ("gain", "sample_error", "test_share"):
        values = pd.to_numeric(frame[name], errors="coerce")
        if not np.isfinite(values).all():
            raise ValueError(f"`frame` must have finite numbers in {name}, got NaN")
        frame = frame.assign(**{name: values.astype(float)})
    for name, low, high in (("sample_error", 0, np.inf), ("test_share", 0, 1)):
        values = frame[name]
        if (values < low).any() or (values >= high).any():
            worst = values[(values < low) | (values >= high)].iloc[0]
            raise ValueError(f"{name} must be in [{low}, {high}), got {worst:g}")
    twice = frame.duplicated([*KEYS, "seed"])
    if twice.any():
        where = ", ".join(str(v) for v in frame.loc[twice, [*KEYS, "seed"]].iloc[0])
        raise ValueError(f"`frame` must have one row a seed of a condition: {where}")
    return frame


def _summary(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a condition: mean, variance over seeds, and what all its seeds share."""
    groups = frame.groupby(KEYS, sort=False)
    for name in ("sample_error", "test_share"):
        if (groups[name].max() > groups[name].min()).any():
            raise ValueError(f"{name} must be the same in all rows of a condition")
    return groups.agg(
        mean=("gain", "mean"),
        own=("gain", "var"),
        n=("gain", "size"),
        sample_error=("sample_error", "first"),
        test_share=("test_share", "first"),
    ).reset_index()


def _moderated(table: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Moderated variance of one gain, and its degrees of freedom, in one chapter."""
    own = table["own"]
    df = table["n"] - 1.0
    found = pd.DataFrame({"variance": own, "df": df.where(df > 0)})
    several = table[df > 0]
    sizes = several["baseline"].map(several["baseline"].value_counts())
    strata = several["baseline"].where(sizes >= FEW_CONDITIONS, other="the others")
    # a spread of 0, as counts of few samples have by luck, has no logarithm: it takes
    # no part in the fit, and is moderated as any other
    fitted = several[several["own"] > 0]
    location, prior_df = moderation_prior(
        fitted["own"], df[fitted.index], strata[fitted.index]
    )
    locations = pd.Series(location, index=fitted.index).groupby(strata).first()

    each = frame.pivot(index="seed", columns=KEYS[1:], values="gain")
    groups = {name: rows for name, rows in several.groupby(strata) if name in locations}
    # what can be compared: the seeds that all of them have
    together = {
        name: each[pd.MultiIndex.from_frame(rows[KEYS[1:]])].dropna().to_numpy()
        for name, rows in groups.items()
    }
    # a few seeds say little of a baseline's correlations: those of a chapter are pooled
    squares = [
        mean_squared_correlation(gains)
        for gains in together.values()
        if len(gains) > 1 and gains.shape[1] > 1
    ]
    values, pairs = zip(*squares) if squares else ((1.0,), (1,))
    pooled_square = float(np.average(values, weights=pairs))

    for stratum, rows in groups.items():
        own_df = df[rows.index]
        known = together[stratum]
        effective = effective_df(known, pooled_square) if len(known) > 1 else 0.0
        most = (effective - own_df).clip(lower=0)
        prior = most.clip(upper=prior_df)
        pooled = prior * locations[stratum] + own_df * rows["own"]
        found.loc[rows.index, "variance"] = pooled / (prior + own_df)
        found.loc[rows.index, "df"] = prior + own_df
    return found
