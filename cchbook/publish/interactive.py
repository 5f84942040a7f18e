"""Figures that a reader can move, as HTML that needs no server, no network and no
library.

Each function returns one string for `IPython.display.HTML`: style, controls, pictures
drawn in the browser, and a sentence that says the same for those who don't see them. A
page of the book carries the numbers within it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cchlib import check

HEAVIEST = 150_000  # bytes of one figure


def mnistm_explorer(
    digits: np.ndarray,
    patches: np.ndarray,
    accuracy_table: pd.DataFrame,
    mi_table: pd.DataFrame,
    threshold: float = 0.5,
) -> str:
    """What teacher and student see as the blending α and the blur γ are moved, and what
    a run found there.

    The browser blends and blurs as `datasets.image` does; accuracy and mutual
    information are those of the computed condition that is nearest, which the figure
    names.

    Parameters
    ----------
    digits, patches : (k, 28, 28) arrays in [0, 1]
        Real samples; about 8 are wanted.
    accuracy_table : DataFrame
        One row for each computed condition: alpha, gamma (pixels), student, student_kd
        (test accuracy without and with distillation), and where known their standard
        errors student_se, student_kd_se.
    mi_table : DataFrame
        alpha, gamma, i_ts, i_sl in nats, and where known i_ts_se, i_sl_se; the same
        conditions.
    threshold : float
        Of the binarisation of the digit.

    Raises
    ------
    ValueError
        Wrong shapes, numbers outside [0, 1], a missing column, tables of different
        conditions, or too many samples for a light page.
    """
    pictures = {}
    for name, images in (("digits", digits), ("patches", patches)):
        images = check.within(name, check.finite(name, images), 0, 1)
        if images.ndim != 3 or images.shape[1:] != (28, 28) or not len(images):
            raise ValueError(
                f"{name} has shape {images.shape}; (k, 28, 28) with k ≥ 1 is wanted"
            )
        pictures[name] = base64.b64encode(
            np.rint(255 * images).astype(np.uint8).tobytes()
        ).decode()
    count = check.same_length(digits=digits, patches=patches)
    keys, found = ["alpha", "gamma"], []
    for name, table, columns in (
        ("accuracy_table", accuracy_table, ("student", "student_kd")),
        ("mi_table", mi_table, ("i_ts", "i_sl")),
    ):
        found.append(
            _columns(name, table, keys, columns, [f"{column}_se" for column in columns])
        )
    rows = found[0].merge(found[1], on=keys)
    if not len(rows) == len(found[0]) == len(found[1]):
        raise ValueError(
            "accuracy_table and mi_table hold other or repeated conditions; the same (alpha, gamma), "
            "each once, are wanted"
        )
    data = {
        **pictures,
        "count": count,
        "threshold": float(check.within("threshold", threshold, 0, 1)),
        "rows": _json_rows(rows.sort_values(keys)),
    }
    return _figure("MNIST-M explorer", MNISTM, data)


def bias_explorer(frame: pd.DataFrame) -> str:
    """Bias of estimators of mutual information against the number of samples, on
    problems of known truth.

    Parameters
    ----------
    frame : DataFrame
        One row for each problem, method and n: problem (what is drawn from), method, n
        (samples), truth and estimate (nats), and where known std_error (of the mean
        estimate).

    Raises
    ------
    ValueError
        A missing column, numbers that are not finite, a problem with several truths, or
        too many rows.
    """
    rows = _columns(
        "frame", frame, ["problem", "method"], ["n", "truth", "estimate"], ["std_error"]
    )
    if (rows.groupby("problem")["truth"].nunique() > 1).any():
        raise ValueError(
            "frame has a problem with several truths; one truth a problem is wanted"
        )
    if rows.duplicated(["problem", "method", "n"]).any():
        raise ValueError(
            "frame repeats a (problem, method, n); means over repetitions are wanted, one row each"
        )
    return _figure(
        "Bias explorer",
        BIAS,
        {"rows": _json_rows(rows.sort_values(["problem", "method", "n"]))},
    )


# Parts --------------------------------------------------------------------------------


def _columns(
    name: str,
    table: pd.DataFrame,
    keys: Sequence[str],
    numbers: Sequence[str],
    uncertain: Sequence[str],
) -> pd.DataFrame:
    """The wanted columns; those of standard errors are added as missing where the table
    has none.
    """
    missing = [column for column in (*keys, *numbers) if column not in table]
    if missing or not len(table):
        wanted = ", ".join((*keys, *numbers))
        raise ValueError(
            f"{name} lacks {', '.join(missing) or 'rows'}; the columns {wanted} are wanted"
        )
    for column in (*keys, *numbers):
        if column not in ("problem", "method"):
            check.finite(f"{name}.{column}", table[column])
    return table.reindex(columns=[*keys, *numbers, *uncertain]).reset_index(drop=True)


def _json_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(table.to_json(orient="records", double_precision=5))


def _figure(label: str, body: str, data: dict[str, Any]) -> str:
    """One figure: the shared style and plotting, its own controls and script, its
    numbers.
    """
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace(
        "</", "<\\/"
    )
    # several can stand on a page
    name = f"cch-{hashlib.sha256((body + text).encode()).hexdigest()[:10]}"
    controls, script = body.split("<script>")
    page = f"""{STYLE}
<div class="cch-live" id="{name}" role="group" aria-label="{label}">{controls}<p class="says" aria-live="polite"></p>
</div>
<script>(function () {{
"use strict";
const root = document.getElementById("{name}"), data = {text};
{PLOT}{script}"""
    weight = len(page.encode())
    if weight > HEAVIEST:
        raise ValueError(
            f"the figure weighs {weight} bytes; at most {HEAVIEST} are wanted: fewer samples or rows"
        )
    return page


STYLE = """<style>
.cch-live { --ink: #1d1d1f; --soft: #5c5c66; --rule: #8b8b95; --panel: #ffffff; --c0: #0072b2; --c1: #c04f00;
  --c2: #00785a; --c3: #a03f7a; color: var(--ink); background: var(--panel); font: 0.95rem/1.45 system-ui, sans-serif;
  margin: 1rem 0; padding: 0.4rem; }
html[data-theme="dark"] .cch-live { --ink: #ececf1; --soft: #b3b3be; --rule: #77777f; --panel: #1b1b20; --c0: #56b4e9;
  --c1: #f0883e; --c2: #2fc79a; --c3: #e59cc8; }
@media (prefers-color-scheme: dark) { html:not([data-theme="light"]) .cch-live { --ink: #ececf1; --soft: #b3b3be;
  --rule: #77777f; --panel: #1b1b20; --c0: #56b4e9; --c1: #f0883e; --c2: #2fc79a; --c3: #e59cc8; } }
.cch-live .controls { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(15rem, 100%), 1fr));
  gap: 0.4rem 1.2rem; border: 1px solid var(--rule); border-radius: 6px; padding: 0.7rem 1rem; }
.cch-live label { display: grid; grid-template-columns: 1fr auto; align-items: center; }
.cch-live input { grid-column: 1 / -1; width: 100%; accent-color: var(--c0); }
.cch-live select { color: var(--ink); background: var(--panel); border: 1px solid var(--rule); border-radius: 4px;
  padding: 0.15rem 0.3rem; max-width: 100%; font: inherit; }
.cch-live :is(input, select):focus-visible { outline: 2px solid var(--c1); outline-offset: 2px; }
.cch-live output { font-variant-numeric: tabular-nums; }
.cch-live .views { display: flex; flex-wrap: wrap; gap: 0.6rem 1rem; margin: 0.6rem 0; }
.cch-live .views > div { flex: 1 1 17rem; min-width: 0; }
.cch-live .views p { margin: 0 0 0.2rem; color: var(--soft); font-size: 0.88em; }
.cch-live canvas { width: 100%; display: block; image-rendering: pixelated; background: #000; }
.cch-live svg { width: 100%; max-width: 34rem; height: auto; display: block; }
.cch-live svg text { fill: var(--ink); font: 13px system-ui, sans-serif; }
.cch-live .says { border-left: 4px solid var(--c0); padding: 0.2rem 0.8rem; margin: 0.6rem 0; }
</style>"""

# plot(svg, {title, x, y, log, rule, mark, series: [{name, look, points: [[x, y,
# standard error]]}]}): lines that differ in colour, dash and marker (`look`), with
# error bars; `rule` is a horizontal line at a value, `mark` a vertical one.
PLOT = """const NS = "http://www.w3.org/2000/svg", DASH = ["", "7 4", "2 4", "9 3 2 3"];
const pm = (value, se) => se == null ? value.toFixed(3) : `${value.toFixed(3)} ± ${se.toFixed(3)}`;
function plot(svg, { title, x, y, log, rule, mark, series }) {
  svg.replaceChildren();
  const make = (name, attributes, text) => {
    const node = document.createElementNS(NS, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    return svg.appendChild(node);
  };
  svg.setAttribute("viewBox", "0 0 380 280");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", title);
  const all = series.flatMap(s => s.points), f = log ? Math.log : v => v;
  const ys = all.flatMap(p => [p[1] - (p[2] || 0), p[1] + (p[2] || 0)]).concat(rule === undefined ? [] : [rule]);
  let [low, high, left, right] = [Math.min(...ys), Math.max(...ys),
                                  f(Math.min(...all.map(p => p[0]))), f(Math.max(...all.map(p => p[0])))];
  const pad = 0.08*(high - low) || 0.05;
  low -= pad; high += pad;
  if (left === right) { left -= 0.5; right += 0.5; }
  const X = v => 58 + 300*(0.03 + 0.94*(f(v) - left)/(right - left)), Y = v => 10 + 190*(high - v)/(high - low);
  const line = (d, color, more) => make("path", { d: d, style: `fill: none; stroke: var(--${color}); ${more || ""}` });
  line("M58 10V200H358", "ink");
  const rough = (high - low)/4, unit = 10**Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(m => m*unit).find(s => s >= rough);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  for (let k = Math.ceil(low/step); k*step <= high; k++)
    make("text", { x: 53, y: Y(k*step) + 4, "text-anchor": "end" }, (k*step).toFixed(digits));
  let last = -1e9;
  for (const v of [...new Set(all.map(p => p[0]))].sort((a, b) => a - b))
    if (X(v) - last > 34) make("text", { x: last = X(v), y: 217, "text-anchor": "middle" }, v);
  make("text", { x: 208, y: 238, "text-anchor": "middle" }, x);
  make("text", { x: 13, y: 105, "text-anchor": "middle", transform: "rotate(-90 13 105)" }, y);
  if (rule !== undefined) line(`M58 ${Y(rule)}H358`, "ink", "stroke-dasharray: 1.5 3");
  if (mark !== undefined) line(`M${X(mark)} 10V200`, "rule", "stroke-width: 5; opacity: 0.45");
  const dot = (i, cx, cy) => make("path", { style: `fill: var(--c${i % 4}); stroke: none`, d: i % 2
    ? `M${cx - 4.5} ${cy - 4.5}h9v9h-9z` : `M${cx - 5} ${cy}a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z` });
  series.forEach((s, place) => {
    const i = s.look ?? place, color = `c${i % 4}`, sx = 62 + 150*(place % 2), sy = 256 + 17*Math.floor(place/2);
    line(s.points.map((p, k) => `${k ? "L" : "M"}${X(p[0])} ${Y(p[1])}`).join(""), color,
         `stroke-width: 2; stroke-dasharray: ${DASH[i % 4] || "none"}`);
    for (const [px, py, se] of s.points) {
      if (se) line(`M${X(px)} ${Y(py - se)}V${Y(py + se)}`, color, "stroke-width: 1.5");
      dot(i, X(px), Y(py));
    }
    line(`M${sx - 4} ${sy}h30`, color, `stroke-width: 2; stroke-dasharray: ${DASH[i % 4] || "none"}`);
    dot(i, sx + 11, sy);
    make("text", { x: sx + 32, y: sy + 4 }, s.name);
  });
  if (series.length > 4) svg.setAttribute("viewBox", `0 0 380 ${255 + 17*Math.ceil(series.length/2)}`);
}
"""

MNISTM = """
<div class="controls">
<label>α prominence of the digit <output></output><input type="range" name="alpha" min="0" max="1" step="0.01"></label>
<label>γ blur of the teacher's input, pixels <output></output>
<input type="range" name="gamma" min="0" step="0.1"></label>
</div>
<div class="views">
<div><p>What the teacher sees</p><canvas class="teacher" role="img"></canvas></div>
<div><p>What the student sees</p><canvas class="student" role="img"></canvas></div>
</div>
<div class="views"><div><svg class="accuracy"></svg></div><div><svg class="mi"></svg></div></div>
<script>
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const digits = bytes(data.digits), patches = bytes(data.patches), count = data.count, S = 28;
const get = name => root.querySelector(name), alpha = get("[name=alpha]"), gamma = get("[name=gamma]");
const across = Math.min(count, 8), down = Math.ceil(count/across);
// As scipy.ndimage.gaussian_filter: a kernel cut at 4 γ, edges reflected (d c b a | a b c d | d c b a).
function blur(image, g) {
  const reach = Math.floor(4*g + 0.5);
  if (reach === 0) return image;
  const kernel = Array.from({ length: 2*reach + 1 }, (_, i) => Math.exp(-0.5*((i - reach)/g)**2));
  const total = kernel.reduce((a, b) => a + b);
  const edge = i => { i = ((i % (2*S)) + 2*S) % (2*S); return i < S ? i : 2*S - 1 - i; };
  const pass = (from, stepA, stepB) => {
    const to = new Float64Array(S*S);
    for (let a = 0; a < S; a++) for (let b = 0; b < S; b++) {
      let sum = 0;
      for (let k = -reach; k <= reach; k++) sum += kernel[k + reach]*from[edge(a + k)*stepA + b*stepB];
      to[a*stepA + b*stepB] = sum/total;
    }
    return to;
  };
  return pass(pass(image, S, 1), 1, S);
}
function draw(canvas, pixel, label) {
  canvas.width = across*(S + 1) - 1;
  canvas.height = down*(S + 1) - 1;
  const context = canvas.getContext("2d");
  for (let k = 0; k < count; k++) {
    const picture = context.createImageData(S, S), values = pixel(k);
    for (let i = 0; i < S*S; i++) {
      picture.data.fill(Math.round(values[i]), 4*i, 4*i + 3);
      picture.data[4*i + 3] = 255;
    }
    context.putImageData(picture, (k % across)*(S + 1), Math.floor(k/across)*(S + 1));
  }
  canvas.setAttribute("aria-label", label);
}
const alphas = [...new Set(data.rows.map(r => r.alpha))], gammas = [...new Set(data.rows.map(r => r.gamma))];
gamma.max = Math.max(1, ...gammas);
alpha.value = alphas[0];
gamma.value = Math.min(...gammas);
function update() {
  const a = +alpha.value, g = +gamma.value;
  for (const [input, text] of [[alpha, a.toFixed(2)], [gamma, g.toFixed(1)]]) {
    input.previousElementSibling.textContent = text;
    input.setAttribute("aria-valuetext", text);
  }
  const digit = k => digits.subarray(k*S*S, (k + 1)*S*S);
  draw(get(".teacher"), k => blur(digit(k), g), `${count} digits, blurred with γ = ${g.toFixed(1)} pixels`);
  draw(get(".student"), k => digit(k).map((v, i) =>
    255*a*(v > 255*data.threshold) + (1 - a)*patches[k*S*S + i] + 0.5),
       `The same digits, α = ${a.toFixed(2)}, blended into photographs`);
  const near = (values, v) => values.reduce((p, q) => Math.abs(q - v) < Math.abs(p - v) ? q : p);
  const rows = data.rows.filter(r => r.alpha === near(alphas, a));
  const at = rows.find(r => r.gamma === near(rows.map(r => r.gamma), g));
  const series = (name, key) => ({ name: name, points: rows.map(r => [r.gamma, r[key], r[key + "_se"]]) });
  plot(get(".accuracy"), { title: `Test accuracy against blur, computed at α = ${at.alpha}`, x: "blur γ (pixels)",
    y: "test accuracy", mark: at.gamma, series: [series("without KD", "student"), series("with KD", "student_kd")] });
  plot(get(".mi"), { title: `Mutual information against blur, computed at α = ${at.alpha}`, x: "blur γ (pixels)",
    y: "nats", mark: at.gamma, series: [series("I(H₂;Y)", "i_sl"), series("I(H₁;H₂)", "i_ts")] });
  const gap = at.i_ts - at.i_sl, gain = at.student_kd - at.student;
  get(".says").textContent = `Nearest computed condition: α = ${at.alpha}, γ = ${at.gamma}. ` +
    `I(H₁;H₂) = ${pm(at.i_ts, at.i_ts_se)} nats ${gap > 0 ? ">" : "≤"} I(H₂;Y) = ${pm(at.i_sl, at.i_sl_se)} nats: ` +
    `the hypothesis ${gap > 0 ? "says distil" : "does not say distil"}. Test accuracy ` +
    `${pm(at.student, at.student_se)} without distillation, ${pm(at.student_kd, at.student_kd_se)} with it ` +
    `(${gain < 0 ? "−" : "+"}${Math.abs(gain).toFixed(3)}).`;
}
root.addEventListener("input", update);
update();
})();</script>"""

BIAS = """
<div class="controls">
<label>Problem <select name="problem"></select></label>
<label>Estimator <select name="method"><option value="">all</option></select></label>
<label>n samples <output></output><input type="range" name="n" min="0" step="1"></label>
</div>
<div class="views"><div><svg></svg></div></div>
<script>
const get = name => root.querySelector(name), unique = key => [...new Set(data.rows.map(r => r[key]))];
const problem = get("[name=problem]"), method = get("[name=method]"), n = get("[name=n]"), methods = unique("method");
const truth = Object.fromEntries(data.rows.map(r => [r.problem, r.truth]));
for (const name of unique("problem")) problem.add(new Option(`${name}: ${truth[name].toFixed(3)} nats`, name));
for (const name of methods) method.add(new Option(name, name));
function update() {
  const rows = data.rows.filter(r => r.problem === problem.value && (!method.value || r.method === method.value));
  const sizes = [...new Set(rows.map(r => r.n))].sort((a, b) => a - b);
  n.max = sizes.length - 1;
  const size = sizes[+n.value], shown = methods.filter(m => rows.some(r => r.method === m));
  n.previousElementSibling.textContent = size;
  n.setAttribute("aria-valuetext", `${size} samples`);
  plot(get("svg"), { title: `Bias against the number of samples, ${problem.value}`, x: "samples n", log: true,
    y: "bias (nats)", rule: 0, mark: size, series: shown.map(m => ({ name: m, look: methods.indexOf(m),
      points: rows.filter(r => r.method === m).map(r => [r.n, r.estimate - r.truth, r.std_error]) })) });
  get(".says").textContent = `True mutual information: ${truth[problem.value].toFixed(3)} nats. At n = ${size}: ` +
    rows.filter(r => r.n === size).map(r => `${r.method} ${pm(r.estimate, r.std_error)} nats, ` +
      `${Math.abs(r.estimate - r.truth).toFixed(3)} too ${r.estimate < r.truth ? "low" : "high"}`).join("; ") + ".";
}
n.max = unique("n").length - 1;
n.value = n.max;
root.addEventListener("input", update);
update();
})();</script>"""
