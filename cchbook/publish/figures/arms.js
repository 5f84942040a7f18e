const get = name => root.querySelector(name), unique = (rows, key) => [...new Set(rows.map(r => r[key]))];
const set = get("[name=set]"), pair = get("[name=pair]"), regime = get("[name=regime]");
const fill = (select, names) => {
  const before = select.value;
  select.replaceChildren(...names.map(name => new Option(name, name)));
  if (names.includes(before)) select.value = before;
};
function update() {
  const ofSet = data.rows.filter(r => r.set === set.value);
  fill(pair, unique(ofSet, "pair"));
  const ofPair = ofSet.filter(r => r.pair === pair.value);
  fill(regime, unique(ofPair, "regime"));
  const row = ofPair.find(r => r.regime === regime.value);
  get("tbody").replaceChildren(...row.scores.map((score, arm) => {
    const line = document.createElement("tr");
    for (const text of [data.arms[arm], score === null ? "–" : score.toFixed(3)])
      line.appendChild(document.createElement("td")).textContent = text;
    return line;
  }).filter((line, arm) => row.scores[arm] !== null));
  get("th:last-child").textContent = row.unit;
  get(".says").textContent = `Over ${data.arms[row.control]} distilling gains ${signed(row.gain, row.std_error)}: ${row.verdict}. ` +
    (row.saturated ? "I(H1;H2) is at its ceiling: the hypothesis is undecided." :
      `The gap is ${signed(row.gap)} nats: the hypothesis says ${row.gap > 0 ? "distil" : "do not distil"}.`);
}
fill(set, unique(data.rows, "set"));
root.addEventListener("input", update);
update();
