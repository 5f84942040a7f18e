// plot(svg, {title, x, y, log, rule, mark, series: [{name, look, points: [[x, y, standard error]]}]}):
// lines that differ in colour, dash and marker (`look`), with error bars; `rule` is a
// horizontal line at a value, `mark` a vertical one.
const NS = "http://www.w3.org/2000/svg", DASH = ["", "7 4", "2 4", "9 3 2 3"];
const pm = (value, se) => se == null ? value.toFixed(3) : `${value.toFixed(3)} ± ${se.toFixed(3)}`;
const signed = (value, se) => (value < 0 ? "−" : "+") + pm(Math.abs(value), se);  // of a difference
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
