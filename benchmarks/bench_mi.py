"""Mutual information against its peers on known truth: error and seconds, in one run.

    python benchmarks/bench_mi.py [--half report|tune] [--samples 2000] [--tasks NAME …]
        [--only ESTIMATOR …] [--peer-python PATH …] [--texts FOLDER] [--again DRAWS]

Peers that are not installed are left out, by name and reason. `pip install --no-deps
--target DIR` and PYTHONPATH=DIR bring those that fit into this environment:
latentmi==0.1.3, infomeasure with numba, llvmlite and sparse, torch-mist with pyro-ppl,
pyro-api and opt_einsum. benchmark-mi 0.1.3 wants jax 0.4.30 and NumPy 1: give it an
environment of its own, and `--peer-python` that environment's interpreter.

Texts are the folder `dataset/imdb.bert-imdb-finetuned` of the repository
kyungeun-lee/mibenchmark, by default `bert-imdb` in CCH_DATA.

Slow peers (half a minute a task) are measured on one task of MNIST and one of the grid,
the middle ones, whatever comes out there; all others on all tasks. `--again`
repeats, on other draws, the tasks that `latent` lost by less than .05 nats.

Writes benchmarks/results/mi.csv, one row for each task and estimator (nats, seconds of
the processor), and from it the tables of the book's page on speed, which begins with
our losses.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import peers

from cchbook.chapters import panel
from cchbook.data import catalogue, image
from cchbook.runs import records
from cchlib.mi import estimate_mi

RESULTS = Path(__file__).parent / "results" / "mi.csv"
PAGE = Path(__file__).resolve().parents[1] / "book" / "bench_mi.md"
OURS = ("latent", "ksg", "gaussian", "mine")
OPTIONS: dict[str, dict] = {"ksg": {"parts": 0}, "gaussian": {"repeats": 0}}
FLIPS = (0.11, 0.05, 0.25)  # half a bit first
LOSS = 0.02  # nats behind the best peer that count as lost
CLOSE = 0.05  # up to which it may be this draw
GRID_BITS = 10 / 9  # the sixth of the ten values of the authors' grid
# mean errors in bits from the files in ggdna/latent-mutual-information, `results`
PRINTED = {
    "MNIST": {
        "latentmi AECross": 0.028,
        "latentmi AEInfoNCE": 0.021,
        "benchmark-mi MINE": 0.258,
        "ksg": 0.360,
    },
    "grid": {
        "latentmi AECross": 0.407,
        "latentmi AEInfoNCE": 0.479,
        "benchmark-mi MINE": 0.801,
        "ksg": 0.902,
    },
}

Estimator = Callable[[np.ndarray, np.ndarray], tuple[float, float]]


@dataclass(frozen=True)
class Task:
    """A population whose information (nats) is known."""

    name: str
    family: str
    truth: float
    sampler: Callable


# ---------------------------------------------------------------- tasks of bmi


def multinormal(covariance: np.ndarray, p: int, warp: Callable = lambda z: z):
    """Task of Czyż et al. (2023): p and the other columns of a Gaussian, each column
    warped invertibly; and its truth.
    """

    def logdet(part: np.ndarray) -> float:
        return float(np.linalg.slogdet(part)[1])

    truth = (
        logdet(covariance[:p, :p]) + logdet(covariance[p:, p:]) - logdet(covariance)
    ) / 2
    root = np.linalg.cholesky(covariance)

    def sample(n: int, rng: np.random.Generator):
        z = warp(rng.standard_normal((n, len(root))) @ root.T)
        return z[:, :p], z[:, p:]

    return truth, sample


def dense(p: int, rho: float = 0.5) -> np.ndarray:
    """All correlations equal."""
    return rho + (1 - rho) * np.eye(2 * p)


def sparse(p: int, pairs: int = 2, rho: float = 0.8) -> np.ndarray:
    """A few correlated pairs."""
    covariance = np.eye(2 * p)
    for i in range(pairs):
        covariance[i, p + i] = covariance[p + i, i] = rho
    return covariance


def half_cube(z: np.ndarray) -> np.ndarray:
    return np.sign(z) * np.abs(z) ** 1.5


def wiggly(z: np.ndarray) -> np.ndarray:
    return z + 0.4 * np.sin(z) + 0.2 * np.sin(1.7 * z + 1) + 0.03 * np.sin(3.3 * z)


def student(dof: float, p: int, warp: Callable = lambda z: z):
    """Two pairs of correlation .8 over a common Student scale."""
    rho = np.r_[0.8, 0.8, np.zeros(p - 2)][:p]
    truth = -0.5 * np.log1p(-(rho**2)).sum() + panel.student_excess(dof, p, p)

    def sample(n: int, rng: np.random.Generator):
        u, v = rng.standard_normal((2, n, p))
        v = rho * u + np.sqrt(1 - rho**2) * v
        scale = np.sqrt(rng.chisquare(dof, (n, 1)) / dof)
        return warp(u / scale), warp(v / scale)

    return float(truth), sample


def bmi_tasks() -> list[Task]:
    found = {
        "bmi normal 1-1": multinormal(sparse(1, 1, 0.75), 1),
        "bmi half-cube 1-1": multinormal(sparse(1, 1, 0.75), 1, half_cube),
        "bmi wiggly 1-1": multinormal(sparse(1, 1, 0.75), 1, wiggly),
        "bmi dense 5-5": multinormal(dense(5), 5),
        "bmi dense 25-25": multinormal(dense(25), 25),
        "bmi sparse 5-5": multinormal(sparse(5), 5),
        "bmi sparse 25-25": multinormal(sparse(25), 25),
        "bmi half-cube sparse 25-25": multinormal(sparse(25), 25, half_cube),
        "bmi student 2, 5-5": student(2, 5),
        "bmi asinh student 2, 5-5": student(2, 5, np.arcsinh),
    }
    return [Task(name, "bmi", *rest) for name, rest in found.items()]


# ---------------------------------------------------------------- other tasks


def grid(columns: int, pairs: int, bits: float = GRID_BITS):
    """A cell of the grid of Gowri et al. (2024): `pairs` correlated Gaussian pairs; of
    the other columns half are copies of them and half noise.
    """
    truth = bits * np.log(2)
    rho = panel.correlations(truth, pairs)
    noise = (columns - pairs) // 2
    copies = columns - pairs - noise

    def sample(n: int, rng: np.random.Generator):
        u, v = rng.standard_normal((2, n, pairs))
        sides = (u, rho * u + np.sqrt(1 - rho**2) * v)
        blocks = []
        for side in sides:
            copied = side[:, rng.integers(pairs, size=copies)]
            around = rng.standard_normal((n, noise))
            blocks.append(np.hstack([side, copied, around]))
        return blocks[0], blocks[1]

    return truth, sample


def grid_tasks() -> list[Task]:
    # the middle first: it is what slow peers are measured on
    cells = [(c, p) for c in (100, 10, 500) for p in (5, 1)]
    return [Task(f"grid {c} columns, {p}", "grid", *grid(c, p)) for c, p in cells]


def coupled(family: str, vectors: np.ndarray, labels: np.ndarray) -> list[Task]:
    """Vectors of two classes, paired by class, over channels that flip the class."""
    return [
        Task(
            f"{family} {flip:g}",
            family,
            panel.channel_information(flip),
            panel.resampled_images(vectors, labels, flip),
        )
        for flip in FLIPS
    ]


def mnist_tasks() -> list[Task]:
    """The resampled images of Gowri et al. (2024); none where MNIST is not at hand."""
    try:
        folder = Path(catalogue.resolve("mnist", "real").path) / "MNIST" / "raw"
    except FileNotFoundError as error:
        print(f"left out: MNIST ({error})", flush=True)
        return []
    images = image.read_idx(folder / "train-images-idx3-ubyte.gz")
    labels = image.read_idx(folder / "train-labels-idx1-ubyte.gz")
    # as the authors do: raw pixels hold the same largest difference again and again,
    # and neighbours in the maximum metric are ties
    images = images.reshape(len(images), -1).astype(float)
    images = images[labels < 2] - images[labels < 2].mean(0)
    spread = images.std(0)
    return coupled(
        "MNIST", images / np.where(spread > 0, spread, 1), labels[labels < 2]
    )


def text_tasks(folder: Path) -> list[Task]:
    """Pairs of texts of Lee and Rhee (2024): BERT's vectors of film reviews, a file a
    vector in the folders 0 and 1; none where they are not at hand.
    """
    files = [sorted((folder / str(label)).glob("*.npy")) for label in (0, 1)]
    if not all(files):
        print(f"left out: texts (no vectors in {folder}/0 and {folder}/1)", flush=True)
        return []
    vectors = [np.load(file).reshape(-1) for one in files for file in one]
    labels = np.repeat([0, 1], [len(one) for one in files])
    return coupled("texts", np.stack(vectors), labels)


def tasks(half: str, texts: Path) -> list[Task]:
    own = [Task(p.name, "panel", p.truth, p.sampler) for p in panel.problems(half)]
    return bmi_tasks() + own + mnist_tasks() + grid_tasks() + text_tasks(texts)


# ---------------------------------------------------------------- estimators


def ours(method: str) -> Estimator:
    def estimate(x: np.ndarray, y: np.ndarray) -> float:
        options = OPTIONS.get(method, {})
        return estimate_mi(x, y, method, device="cpu", **options).value

    return lambda x, y: peers.measure(estimate, x, y)


def peer_here(name: str) -> Estimator:
    estimate = peers.quiet(peers.PEERS[name][1])
    return lambda x, y: peers.measure(estimate, x, y)


def peer_elsewhere(name: str, python: Path) -> Estimator:
    def estimate(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as folder:
            pair = Path(folder) / "pair.npz"
            np.savez(pair, x=x, y=y)
            answer = peers.elsewhere(python, name, pair)
        return answer["value"], answer["seconds"]

    return estimate


def find_peers(pythons: list[Path]) -> tuple[dict[str, Estimator], dict[str, str]]:
    """Those that are installed, here before elsewhere; and the versions of all. What is
    nowhere is left out, with its reason for a version.
    """
    found, left_out = peers.installed()
    estimators = {name: peer_here(name) for name in found}
    for python in pythons:
        answer = peers.elsewhere(python)
        for name, version in answer["found"].items():
            if name not in found:
                found[name] = version
                estimators[name] = peer_elsewhere(name, python)
    missing = {name: why for name, why in left_out.items() if name not in found}
    for name, why in missing.items():
        print(f"left out: {name} ({why})", flush=True)
    return estimators, found | {
        name: f"left out: {why}" for name, why in missing.items()
    }


# ---------------------------------------------------------------- the run


def measure(
    task: Task,
    n: int,
    estimators: dict,
    versions: dict,
    *,
    seed: int = 0,
    slow: bool = False,
) -> list[dict]:
    x, y = task.sampler(n, np.random.default_rng(seed))
    rows = []
    for who, estimate in estimators.items():
        if x.shape[1] >= peers.SLOW_FROM.get(who, np.inf) and not slow:
            continue
        try:
            value, seconds = estimate(x, y)
        except ValueError as error:  # refused, which is an answer
            print(f"{task.name}: {who} refused: {error}", flush=True)
            continue
        if np.isnan(value):  # not made for such a pair
            continue
        rows.append(
            {
                "task": task.name,
                "family": task.family,
                "n": n,
                "seed": seed,
                "truth": task.truth,
                "estimator": who,
                "version": versions.get(who, ""),
                "value": value,
                "error": value - task.truth,
                "seconds": seconds,
                "date": time.strftime("%Y-%m-%d"),
            }
        )
        print(
            f"{task.name:26s} truth {task.truth:6.3f}  {who:20s} {value:7.3f}  "
            f"{seconds:8.2f} s",
            flush=True,
        )
    return rows


def firsts(all_tasks: list[Task]) -> set[str]:
    """The first task of MNIST and of the grid."""
    found: dict[str, str] = {}
    for task in all_tasks:
        found.setdefault(task.family, task.name)
    return {found[family] for family in PRINTED if family in found}


def again(
    lost: pd.DataFrame,
    by_name: dict[str, Task],
    draws: int,
    n: int,
    estimators: dict,
    versions: dict,
) -> list[dict]:
    """`latent` and the peer that beat it, on other draws of the lost tasks."""
    rows = []
    for _, loss in lost.iterrows():
        if loss.task not in by_name or peers.SLOW_FROM.get(loss.who) == 1:
            continue
        asked = {who: estimators[who] for who in ("latent", loss.who)}
        for seed in range(1, draws + 1):
            rows += measure(by_name[loss.task], n, asked, versions, seed=seed)
    return rows


# ---------------------------------------------------------------- the page


def comparison(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a task: `latent`, the best of our others, the best peer;
    our losses first.
    """
    rows = []
    for (name, _), group in frame.groupby(["task", "n"], sort=False):
        if "latent" not in set(group.estimator):
            continue
        group = group.assign(size=group.error.abs())
        own = group[group.estimator == "latent"].iloc[0]
        theirs = group[~group.estimator.isin(OURS)]
        other = group[group.estimator.isin(OURS[1:])]
        if theirs.empty:
            continue
        peer = theirs.loc[theirs["size"].idxmin()]
        best = other.loc[other["size"].idxmin()] if len(other) else own
        rows.append(
            {
                "task": name,
                "truth": own.truth,
                "latent": own.value,
                "other": f"{best.value:.3f} ({best.estimator})",
                "peer": f"{peer.value:.3f} ({peer.estimator})",
                "who": peer.estimator,
                "peers": len(theirs),
                "loss": own["size"] - peer["size"],
                "ratio": own.seconds / peer.seconds,
            }
        )
    return pd.DataFrame(rows).sort_values("loss", ascending=False)


def losses(table: pd.DataFrame, frame: pd.DataFrame) -> list[str]:
    behind = table[table.loss > LOSS]
    slow = int((table.ratio > 0.1).sum())
    lines = [
        f"`latent` is behind the best peer by more than .02 nats in {len(behind)} of "
        f"{len(table)} tasks; they come first. It takes more than a tenth of that "
        f"peer's time in {slow}. The best peer is chosen knowing the truth, a new one "
        f"for each task; n = {frame.n.iloc[0]:,}.",
        "",
        "| task | truth | `latent` | best of our others | best peer | of peers | "
        "`latent` behind by | time to peer's |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for _, r in table.iterrows():
        lines.append(
            f"| {r.task} | {r.truth:.3f} | {r.latent:.3f} | {r.other} | {r.peer} | "
            f"{r.peers} | {r.loss:+.3f} | {r.ratio:.3g} |"
        )
    return lines


def other_draws(frame: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """What became of our losses on other draws."""
    frame = frame.assign(size=frame.error.abs())
    lines = []
    for _, loss in table.iterrows():
        part = frame[(frame.task == loss.task) & (frame.seed > 0)]
        if loss.who not in set(part.estimator):
            continue
        size = part.groupby("estimator")["size"].agg(["mean", "std", "size"])
        own, peer = size.loc["latent"], size.loc[loss.who]
        lines.append(
            f"| {loss.task} | {loss.who} | {own['size']:.0f} | {own['mean']:.3f} | "
            f"{peer['mean']:.3f} | {own['mean'] - peer['mean']:+.3f} |"
        )
    if not lines:
        return []
    return [
        "",
        "The peer is the best of several on one draw. Where it was ahead by less than "
        f"{CLOSE:.2f}, and is quick, the same two on other draws:",
        "",
        "| task | peer | draws | `latent`'s mean absolute error | the peer's | "
        "`latent` behind by |",
        "|---|---|---:|---:|---:|---:|",
        *lines,
    ]


def means(frame: pd.DataFrame) -> list[str]:
    """Errors and seconds over the tasks that all answered, and of each peer over its
    own; `latent` on the very same.
    """
    errors = frame.assign(size=frame.error.abs())
    error = errors.pivot_table(index="task", columns="estimator", values="size")
    seconds = errors.pivot_table(index="task", columns="estimator", values="seconds")
    # scikit-learn estimates one column each, and slow peers saw few tasks
    general = [
        name
        for name in error
        if name != "scikit-learn" and peers.SLOW_FROM.get(name) != 1
    ]
    common = error.index[error[general].notna().all(axis=1)]
    lines = [
        f"Over the {len(common)} tasks that each of these answered (KSG of infomeasure "
        "and benchmark-mi have no classes; scikit-learn and slow peers saw few, and "
        f"stand below): {', '.join(common)}.",
        "",
        "| estimator | mean absolute error | processor seconds a task |",
        "|---|---:|---:|",
    ]
    for name, value in error.loc[common, general].mean().sort_values().items():
        lines.append(
            f"| {name} | {value:.3f} | {seconds.loc[common, name].mean():.2f} |"
        )
    lines += [
        "",
        "Each against `latent`, over all tasks that it answered:",
        "",
        "| estimator | tasks | its mean absolute error | `latent`'s | its seconds | "
        "`latent`'s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in error:
        both = error.index[error[[name, "latent"]].notna().all(axis=1)]
        if name == "latent":
            continue
        e = error.loc[both, [name, "latent"]].mean()
        s = seconds.loc[both, [name, "latent"]].mean()
        lines.append(
            f"| {name} | {len(both)} | {e[name]:.3f} | {e['latent']:.3f} | "
            f"{s[name]:.2f} | {s['latent']:.2f} |"
        )
    return lines


def printed(frame: pd.DataFrame) -> list[str]:
    """Mean errors in bits beside those of latentmi's authors."""
    lines = [
        "Beside what latentmi's authors found (mean absolute errors, here in bits). "
        "Their MNIST test has 5,000 pairs, each image once, 200 strengths from 0 to 1 "
        f"bit; ours has {frame.n.iloc[0]:,}, drawn with replacement, at "
        f"{len(FLIPS)} strengths. Their grid has nine numbers of pairs, 10 to 5,000 "
        "columns and ten strengths from 0 to 2 bits; ours, at the same n, six cells of "
        "it (1 and 5 pairs in 10, 100, 500 columns) at 1.11 bits. The package has "
        "changed since, they repeated narrow columns for it and cut MINE off at 0; KSG "
        "is theirs there, ours here. Slow peers saw one task of each.",
        "",
        "| test | estimator | theirs | ours | `latent` on the same | tasks |",
        "|---|---|---:|---:|---:|---:|",
    ]
    bits = frame.assign(size=frame.error.abs() / np.log(2))
    for family in ("MNIST", "grid"):
        part = bits[bits.family == family]
        part = part.pivot_table(index="task", columns="estimator", values="size")
        for name in dict.fromkeys([*PRINTED["MNIST"], "latent"]):
            theirs = PRINTED[family].get(name)
            cells = [family, name, "–" if theirs is None else f"{theirs:.3f}"]
            if name in part and "latent" in part:
                both = part[part[name].notna() & part["latent"].notna()]
                means = [f"{both[one].mean():.3f}" for one in (name, "latent")]
                cells += [*means, str(len(both))]
            else:
                cells += ["–", "–", "0"]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def whom(frame: pd.DataFrame, versions: dict[str, str]) -> str:
    theirs = frame[~frame.estimator.isin(OURS)]
    measured = sorted(set(zip(theirs.estimator, theirs.version)))
    said = [f"{name} (of {version})" for name, version in measured]
    text = f"Peers, with their defaults: {', '.join(said)}."
    left_out = {
        name: version
        for name, version in versions.items()
        if version.startswith("left out") and name not in set(theirs.estimator)
    }
    for name, why in left_out.items():
        text += f" {name} is {why}."
    if set(peers.SLOW_FROM) & set(theirs.estimator):
        slow = [f"{name} from {c} on" for name, c in peers.SLOW_FROM.items() if c > 1]
        always = [name for name, columns in peers.SLOW_FROM.items() if columns == 1]
        text += (
            f" {', '.join(always)} at any number of columns, {', '.join(slow)}, take "
            "half a minute a task or more: there they are measured on one task of "
            "MNIST and one of the grid, on which their authors tested, each chosen "
            "before the run; AECross has our panel from an earlier one."
        )
    return text


def page(frame: pd.DataFrame, versions: dict[str, str]) -> str:
    dates = ", ".join(sorted(set(frame.date)))
    all_draws, frame = frame, frame[frame.seed == 0]
    table = comparison(frame)
    parts = [
        *losses(table, frame),
        *other_draws(all_draws, table[table.loss > LOSS]),
        "",
        *means(frame),
        "",
        *printed(frame),
        "",
        whom(frame, versions),
        "",
        f"Measured by `benchmarks/bench_mi.py` on {dates} ({platform.machine()}, "
        f"{records.cores()} cores; the date of each row is in "
        "`benchmarks/results/mi.csv`).",
        "",
    ]
    return "\n".join(parts)


def main() -> None:
    data = Path(os.environ.get("CCH_DATA", "."))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", default="report", choices=("report", "tune"))
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--tasks", nargs="*", help="names; all where left out")
    parser.add_argument("--only", nargs="*", help="estimators; all where left out")
    parser.add_argument("--peer-python", nargs="*", type=Path, default=[])
    parser.add_argument("--texts", type=Path, default=data / "bert-imdb")
    parser.add_argument("--again", type=int, default=0, help="draws of lost tasks")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    theirs, versions = find_peers(arguments.peer_python)
    everything = {method: ours(method) for method in OURS} | theirs
    estimators = everything
    if arguments.only is not None:
        estimators = {who: everything[who] for who in arguments.only}
    # what a process loads on first use is no task's time
    rng = np.random.default_rng(0)
    for who, estimate in estimators.items():
        if peers.SLOW_FROM.get(who) != 1:
            estimate(rng.standard_normal((100, 1)), rng.standard_normal((100, 1)))

    # what was measured before and isn't now stays, with its date: a peer takes an hour
    before = pd.read_csv(RESULTS) if RESULTS.exists() else pd.DataFrame()
    rows: list[dict] = []

    def save() -> pd.DataFrame:
        frame = pd.concat([pd.DataFrame(rows), before])
        frame = frame.drop_duplicates(["task", "n", "seed", "estimator"])
        RESULTS.parent.mkdir(exist_ok=True)
        records.write_text(RESULTS, frame.to_csv(index=False, float_format="%.6g"))
        if "latent" in set(frame.estimator):
            records.write_text(PAGE, page(frame, versions))
        return frame

    n = arguments.samples
    all_tasks = tasks(arguments.half, arguments.texts)
    first = firsts(all_tasks)
    by_name = {task.name: task for task in all_tasks}
    chosen = [by_name[name] for name in arguments.tasks or by_name]
    for task in chosen:
        rows += measure(task, n, estimators, versions, slow=task.name in first)
        save()  # after each task: a run that is broken off leaves what it has
    if arguments.again:
        table = comparison(save().query("seed == 0"))
        close = table[table.loss.between(LOSS, CLOSE)]
        rows += again(close, by_name, arguments.again, n, everything, versions)
    print(page(save(), versions))


if __name__ == "__main__":
    main()
