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
      `${pm(Math.abs(r.estimate - r.truth), r.std_error)} too ${r.estimate < r.truth ? "low" : "high"}`).join("; ") + ".";
}
n.max = unique("n").length - 1;
n.value = n.max;
root.addEventListener("input", update);
update();
