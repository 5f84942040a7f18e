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
  const open = at.gap_se != null && Math.abs(gap) < 2*at.gap_se;
  get(".says").textContent = `Nearest computed condition: α = ${at.alpha}, γ = ${at.gamma}. ` +
    `I(H₁;H₂) = ${pm(at.i_ts, at.i_ts_se)} nats ${gap > 0 ? ">" : "≤"} I(H₂;Y) = ${pm(at.i_sl, at.i_sl_se)} nats, ` +
    `a difference of ${signed(gap, at.gap_se)}: the hypothesis ` +
    `${open ? "can't tell" : gap > 0 ? "says distil" : "does not say distil"}. Test accuracy ` +
    `${pm(at.student, at.student_se)} without distillation, ${pm(at.student_kd, at.student_kd_se)} with it ` +
    `(${signed(gain, at.gain_se)}).`;
}
root.addEventListener("input", update);
update();
