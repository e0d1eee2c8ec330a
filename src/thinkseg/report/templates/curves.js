"use strict";
(() => {
  const shown = new WeakMap();

  /* Prints the values of the logged steps nearest to a step, and marks it. */
  function show(chart, step) {
    const curves = JSON.parse(chart.dataset.curves);
    const [first, last] = JSON.parse(chart.dataset.range);
    const svg = chart.querySelector("svg");
    const cursor = svg.querySelector(".cursor");
    const spans = chart.querySelectorAll("output span");
    curves.forEach(({ steps, values }, number) => {
      const at = steps.reduce((best, one, i) => (Math.abs(one - step) < Math.abs(steps[best] - step) ? i : best), 0);
      spans[number].textContent = `step ${steps[at]}: ${values[at]}`;
      if (number === 0) shown.set(chart, { at, steps });
    });
    const { at, steps } = shown.get(chart);
    const width = svg.viewBox.baseVal.width - 56;
    cursor.setAttribute("transform", `translate(${((steps[at] - first) / Math.max(1, last - first)) * width} 0)`);
    cursor.removeAttribute("hidden");
  }

  function point(event) {
    const chart = event.target.closest(".curve");
    if (!chart) return;
    const svg = chart.querySelector("svg");
    const box = svg.getBoundingClientRect();
    const { x, width } = svg.viewBox.baseVal;
    const [first, last] = JSON.parse(chart.dataset.range);
    const at = (x + ((event.clientX - box.left) / box.width) * width) / (width - 56);
    show(chart, first + Math.min(1, Math.max(0, at)) * (last - first));
  }

  function step(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const chart = event.target.closest(".curve");
    if (!move || !chart) return;
    const { at, steps } = shown.get(chart) ?? { at: 0, steps: JSON.parse(chart.dataset.curves)[0].steps };
    event.preventDefault();
    show(chart, steps[Math.min(steps.length - 1, Math.max(0, at + move))]);
  }

  document.addEventListener("pointermove", point);
  document.addEventListener("keydown", step);
  document.querySelectorAll(".side").forEach((side) => {
    side.querySelector("select").addEventListener("change", ({ target }) => {
      side.querySelector("iframe").src = side.querySelector("a").href = target.value;
    });
  });
})();
