/* Tables as wide as the page at most: long names may break after their joints; then a
   table is set smaller, and only what is too wide even so breaks within words. On narrow
   screens tables scroll. */
(function () {
  const SIZES = [0.85, 0.8, 0.75, 0.7, 0.66, 0.62, 0.58]; // em
  const NARROW = 1000; // px
  const LONG = 14; // characters of a name that may break
  // after _ / ( and =, and after a point within a name, not within a number
  const JOINTS = /(?<=[_/(=])(?=\S)|(?<=\.)(?=[A-Za-z])/;

  function letNamesBreak(table) {
    const walker = document.createTreeWalker(table, NodeFilter.SHOW_TEXT);
    const texts = [];
    while (walker.nextNode()) texts.push(walker.currentNode);
    for (const text of texts) {
      const inFormula = text.parentElement.closest("mjx-container, .math, script");
      if (inFormula || !text.data.split(/\s/).some((word) => word.length >= LONG)) {
        continue;
      }
      const parts = text.data.split(JOINTS);
      const broken = parts.flatMap((part) => [document.createElement("wbr"), part]);
      text.replaceWith(...broken.slice(1));
    }
  }

  function fits(table, wrap) {
    for (const size of SIZES) {
      table.style.fontSize = `${size}em`;
      if (table.offsetWidth <= wrap.clientWidth) return true;
    }
    return false;
  }

  function fit(wrap) {
    const table = wrap.querySelector("table");
    wrap.classList.add("fitted");
    wrap.classList.remove("breaks");
    table.style.fontSize = "";
    if (window.innerWidth < NARROW || wrap.clientWidth === 0) return;
    if (!fits(table, wrap)) wrap.classList.add("breaks");
  }

  function fitAll() {
    document.querySelectorAll(".cch-table-wrap").forEach(fit);
  }

  window.addEventListener("load", () => {
    document.querySelectorAll("article table").forEach(letNamesBreak);
    fitAll();
    window.MathJax?.startup?.promise?.then(fitAll); // formulas change widths
  });
  let later;
  window.addEventListener("resize", () => {
    clearTimeout(later);
    later = setTimeout(fitAll, 150);
  });
  document.addEventListener("toggle", fitAll, true); // what was folded had no width
})();
