"""`pairs_excess_risk` against a million fits to raw rows, for five models; what it is
worth to choose the teacher's scale, or to correct by prediction-powered inference; and
the search for the bar beyond shrinking at finite n.

    python benchmarks/pairs_risk.py            # all, some minutes on one core
    python benchmarks/pairs_risk.py risk 10000 # the first alone, 10 000 draws a model

The numbers are on the book's page of proofs on unlabelled pairs.
"""

from __future__ import annotations

import sys

import numpy as np

from cchlib.criterion import estimate_pairs
from cchlib.gaussian import (
    model_of_parts,
    pairs_coefficients,
    pairs_excess_risk,
    random_model,
)

BATCH = 20_000
# name, features of the student, labelled rows, pairs, λ
MODELS = (
    ("fewer labels than features", 6, 4, 10, 0.5),
    ("as many labels as features", 4, 4, 7, 1.0),
    ("κ = 1.2", 5, 6, 8, 0.3),
    ("a few pairs", 4, 12, 2, 0.3),
    ("many pairs", 3, 10, 60, 0.05),
)


def draw(model, w1, n, m, trials, rng):
    """x2 (trials, n + m, p), the teacher's output and the label (trials, n + m)."""
    x1, x2, y = model.sample(trials * (n + m), rng)
    shape = (trials, n + m)
    return x2.reshape(*shape, -1), (x1 @ w1).reshape(shape), y.reshape(shape)


def gram(x):
    return np.einsum("tip,tiq->tpq", x, x)


def solve(matrix, x, values):
    side = np.einsum("tip,ti->tp", x, values)
    return np.linalg.solve(matrix, side[..., None])[..., 0]


def risk_of(model, weights):
    error = weights - model.w_star
    return ((error @ model.S22) * error).sum(-1)


def raw_risks(model, w1, n, m, lam, trials, seed):
    """The sum and the sum of squares of the risks of `trials` fits."""
    rng = np.random.default_rng(seed)
    first = second = 0.0
    for start in range(0, trials, BATCH):
        x, told, y = draw(model, w1, n, m, min(BATCH, trials - start), rng)
        labelled, every = gram(x[:, :n]), gram(x)
        side = np.einsum("tip,ti->tp", x[:, :n], y[:, :n])
        side += lam * np.einsum("tip,ti->tp", x, told)
        weights = np.linalg.solve(labelled + lam * every, side[..., None])[..., 0]
        risks = risk_of(model, weights)
        first += risks.sum()
        second += (risks**2).sum()
    return first / trials, np.sqrt((second / trials - (first / trials) ** 2) / trials)


def compare_risks(trials):
    print("| model | p, n, m, λ | raw draws | pairs_excess_risk | z |")
    print("|---|---|---|---|---|")
    for seed, (name, p, n, m, lam) in enumerate(MODELS):
        model, w1 = random_model(seed + 40, p1=3, p2=p)
        mean, error = raw_risks(model, w1, n, m, lam, trials, seed)
        exact, own = pairs_excess_risk(
            model, w1, lam, n, m, draws=100_000, return_error=True
        )
        z = (mean - exact) / np.hypot(error, own)
        numbers = f"{mean:.5f} ± {error:.5f} | {exact:.5f} ± {own:.5f} | {z:+.2f}"
        print(f"| {name} | {p}, {n}, {m}, {lam} | {numbers} |", flush=True)


# ---- what choosing k costs, and prediction-powered inference ------------------------

LAMS = np.r_[0.0, np.geomspace(1e-3, 10, 41)]
SCALES = np.linspace(0, 2, 21)
TEACHERS = {
    # along S, along e, elsewhere in x2, noise
    "imitates, knows no noise": (0.8, 0.0, 0.2, 0.5),
    "knows the noise": (0.8, 0.8, 0.2, 0.5),
    "twice too loud": (2.0, 0.0, 0.2, 0.5),
    "says half": (0.5, 0.0, 0.0, 0.5),
}


def practice(trials, seed=0):
    """Mean excess risks of students whose λ (and k) are chosen by the estimated risk.

    Per thousand of the risk of the labels alone.
    """
    print("| teacher | n | λ chosen | λ and k chosen | k = 0, λ chosen | best λ | "
          "best λ and k | prediction-powered | ± |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    p = 5
    for name, parts in TEACHERS.items():
        for n, m in ((12, 48), (40, 160)):
            model, w1 = model_of_parts(0.4, *parts, p1=2, p2=p, seed=1)
            rng = np.random.default_rng(seed)
            rows = [one_sample(model, w1, n, m, rng) for _ in range(trials)]
            mean, error = np.mean(rows, 0), np.std(rows, 0) / np.sqrt(trials)
            alone = mean[0]
            best = best_known(model, w1, n, m)
            numbers = [*mean[1:4], *best, mean[4]]
            said = " | ".join(f"{1000 * number / alone:.0f}" for number in numbers)
            largest = 1000 * error[1:].max() / alone
            print(f"| {name} | {n} | {said} | {largest:.0f} |", flush=True)


def coefficients(p, n, m, known={}):  # noqa: B006  (a table that is kept)
    if (p, n, m) not in known:
        known[p, n, m] = np.array(pairs_coefficients(p, LAMS, n, m))
    return known[p, n, m]


def risks_of_parts(found, student, towards, imitator, noise, c, d):
    """Risks (scales, λ)."""
    bias, label, cross, teacher = found
    k = SCALES[:, None]
    distance = k**2 * imitator - 2 * k * towards + student
    return distance * bias + noise * label + 2 * k * c * cross + k**2 * d * teacher


def best_known(model, w1, n, m):
    told = model.teacher_moments(w1)
    imitator = np.linalg.solve(model.S22, model.S12.T @ w1)
    found = coefficients(model.p2, n, m)
    risks = risks_of_parts(
        found,
        model.w_star @ model.S22 @ model.w_star,
        told.with_student,
        imitator @ model.S22 @ imitator,
        model.noise_variance,
        told.with_residual,
        told.given_x2,
    )
    return risks[np.flatnonzero(np.isclose(SCALES, 1.0))[0]].min(), risks.min()


def one_sample(model, w1, n, m, rng):
    """Risks: labels alone, λ chosen, λ and k chosen, λ chosen at k = 0, and
    prediction-powered.
    """
    (x,), (told,), (y,) = draw(model, w1, n, m, 1, rng)
    found = estimate_pairs(x[:n], y[:n], told[:n], x[n:], told[n:])
    estimated = risks_of_parts(
        coefficients(found.p, n, m),
        found.student_variance,
        found.with_student,
        found.imitator_variance,
        found.noise_variance,
        found.with_residual,
        found.given_x2,
    )
    labelled, every = x[:n].T @ x[:n], x.T @ x
    of_labels, of_teacher = x[:n].T @ y[:n], x.T @ told
    unit = int(np.flatnonzero(np.isclose(SCALES, 1.0))[0])
    risks = [risk_of(model, np.linalg.solve(labelled, of_labels))]
    for rows in (slice(unit, unit + 1), slice(None), slice(0, 1)):
        part = estimated[rows]
        at_scale, at_lam = np.unravel_index(part.argmin(), part.shape)
        lam, scale = LAMS[at_lam], SCALES[rows][at_scale]
        side = of_labels + lam * scale * of_teacher
        risks.append(risk_of(model, np.linalg.solve(labelled + lam * every, side)))
    risks.append(risk_of(model, prediction_powered(x, told, y, n, found)))
    return risks


def prediction_powered(x, told, y, n, found):
    """The student of the labels, corrected by what the teacher's imitators of labelled
    rows and of pairs differ by; tuned by the estimated c and d.
    """
    student, of_labelled = np.linalg.lstsq(x[:n], np.c_[y[:n], told[:n]], rcond=None)[
        0
    ].T
    of_pairs = np.linalg.lstsq(x[n:], told[n:], rcond=None)[0]
    ratio = (n - found.p - 1) / (found.m - found.p - 1)
    weight = found.with_residual / (found.given_x2 * (1 + ratio))
    return student + np.clip(weight, 0.0, 1.0) * (of_pairs - of_labelled)


# ---- the search for the bar beyond shrinking at finite n -----------------------------

SIZES = (
    (2, 20, 40),
    (2, 200, 400),
    (3, 60, 30),
    (5, 30, 300),
    (10, 40, 80),
    (5, 10, 40),
    (5, 3, 40),
    (20, 10, 60),
)
GRID = np.geomspace(1e-6, 1e5, 2500)


def search(cases, seed=0):
    """Random teachers within 20 % of r_loc: does the best λ and scale beat the best
    shrinkage exactly where C/Δ0 > (c/σ²)/r_loc? And where it says r, or r_eff?
    """
    print("| p, n, m | r | r_eff | r_loc | cases | wrong: r_loc | r | r_eff |")
    print("|---|---|---|---|---|---|---|---|")
    rng = np.random.default_rng(seed)
    for p, n, m in SIZES:
        found = np.array(pairs_coefficients(p, GRID, n, m, draws=1000))
        bias, label, cross, teacher = found
        r = (n + m) / n
        spare = (n - p) * (n - p - 3)
        factor = 1 + m * (n - 1) / spare if n > p + 3 else np.inf
        wrong, bars, count = np.zeros(3, int), [], 0
        for _ in range(cases):
            noise = rng.lognormal()
            student = noise * rng.lognormal(sigma=1.5)
            silent = student * bias + noise * label
            at = silent.argmin()
            bar = student * bias[at] / (noise * cross[at])
            bars.append(bar)
            c = 1.5 * noise * rng.standard_normal()
            off = 1 + 0.2 * rng.standard_normal()
            if abs(off - 1) < 0.01:
                continue
            count += 1
            towards = off * c / noise / bar * student
            extra = rng.lognormal(size=2) * rng.choice([0.0, 0.1, 1.0], 2)
            imitator = towards**2 / student * (1 + extra[0])
            d = c**2 / noise * (1 + extra[1])
            gain = np.maximum(towards * bias - c * cross, 0.0) ** 2
            best = (silent - gain / (imitator * bias + d * teacher)).min()
            beats = best < silent[at] * (1 - 1e-9)
            ratio = towards / student
            wrong += [
                beats != (ratio > c / noise / claim) for claim in (bar, r, factor)
            ]
        low, middle, high = np.quantile(bars, [0, 0.5, 1])
        said = f"{low:.1f} … {middle:.1f} … {high:.1f} | {count}"
        print(f"| {p}, {n}, {m} | {r:.2f} | {factor:.2f} | {said} | "
              + " | ".join(map(str, wrong)) + " |", flush=True)  # fmt: skip


if __name__ == "__main__":
    what = sys.argv[1] if len(sys.argv) > 1 else "all"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    if what in ("all", "risk"):
        compare_risks(count or 1_000_000)
    if what in ("all", "practice"):
        practice(count or 2000)
    if what in ("all", "search"):
        search(count or 400)
