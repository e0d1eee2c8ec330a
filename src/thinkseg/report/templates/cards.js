"use strict";
(() => {
  const form = document.querySelector(".toolbar");
  const list = document.querySelector(".cards");
  const none = document.querySelector(".none");
  const cards = Array.from(list.children);
  const facts = new Map(
    cards.map((card) => [card, { category: card.dataset.category, outcomes: card.dataset.outcome.split(" ") }]),
  );
  const BATCH = 100;
  let waiting = [];
  let frame = 0;

  /* What the search looks through, read once. */
  const textOf = (card) => (facts.get(card).text ??= `${card.id} ${card.textContent}`.toLowerCase());
  const value = (name) => form.elements[name]?.value ?? "";

  function filter() {
    const words = value("text").toLowerCase().split(/\s+/).filter(Boolean);
    const category = value("category");
    const outcome = value("outcome");
    const matches = (card) =>
      (!category || facts.get(card).category === category) &&
      (!outcome || facts.get(card).outcomes.includes(outcome)) &&
      words.every((word) => textOf(card).includes(word));
    const [shown, others] = [[], []];
    for (const card of list.children) (matches(card) ? shown : others).push(card);
    for (const card of others) if (!card.hidden) card.hidden = true;
    none.hidden = shown.length > 0;
    form.querySelector("output").textContent = `${shown.length} of ${cards.length}`;
    waiting = shown.filter((card) => card.hidden);
    reveal(BATCH);
  }

  /* Shows the first cards that wait, and the others in the next frames: the layout of thousands takes long. */
  function reveal(count) {
    cancelAnimationFrame(frame);
    for (const card of waiting.splice(0, count)) card.hidden = false;
    if (waiting.length) frame = requestAnimationFrame(() => reveal(count));
  }

  /* A card without the value comes last. "-" sorts downwards, "~" by the size of a change. */
  function sort() {
    const [, sign, name] = value("sort").match(/^([-~]?)(.*)$/);
    const key = (card) => {
      const number = parseFloat(card.dataset[name]);
      if (Number.isNaN(number)) return Infinity;
      return sign === "-" ? -number : sign === "~" ? -Math.abs(number) : number;
    };
    const keyed = cards.map((card) => [key(card), card]);
    /* Sorting is stable, so that equal cards stay in the order of the page. Infinity minus itself is no number. */
    keyed.sort(([one], [other]) => (one === other ? 0 : one - other));
    list.append(...keyed.map(([, card]) => card));
  }

  function reset() {
    form.reset();
    sort();
    filter();
  }

  /* Shows the card that the address names, although a filter hides it. */
  function target() {
    const card = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!card || !list.contains(card)) return;
    if (card.hidden) reset();
    reveal(Infinity);
    card.scrollIntoView();
    requestAnimationFrame(() => card.scrollIntoView());
  }

  function scrub(player, position) {
    const moments = JSON.parse(player.dataset.moments);
    const columns = Number(player.style.getPropertyValue("--columns"));
    const range = player.querySelector("input");
    range.value = position;
    range.setAttribute("aria-valuetext", moments[position][0]);
    player.style.setProperty("--column", position % columns);
    player.style.setProperty("--row", Math.floor(position / columns));
    player.style.setProperty("--at", JSON.parse(player.dataset.positions)[position]);
    player.querySelectorAll("figcaption span").forEach((span, k) => (span.textContent = moments[position][k]));
  }

  const playing = new Map();
  function play(button) {
    const player = button.closest(".player");
    const range = player.querySelector("input");
    clearInterval(playing.get(player));
    const start = !playing.delete(player);
    if (start) {
      const next = () => scrub(player, (Number(range.value) + 1) % (Number(range.max) + 1));
      playing.set(player, setInterval(next, 150));
    }
    button.textContent = start ? "❚❚" : "▶";
    button.setAttribute("aria-label", start ? "Pause" : "Play");
    button.setAttribute("aria-pressed", start);
  }

  function jump(curves, event) {
    const player = curves.closest(".player");
    const box = curves.getBoundingClientRect();
    const at = (100 * (event.clientX - box.left)) / box.width;
    const distances = JSON.parse(player.dataset.positions).map((position) => Math.abs(position - at));
    scrub(player, distances.indexOf(Math.min(...distances)));
  }

  function move(step) {
    const visible = Array.from(list.children).filter((card) => !card.hidden);
    const here = visible.indexOf(document.activeElement.closest?.("article"));
    const next = here < 0 ? visible[0] : visible[here + step];
    if (!next) return;
    next.focus({ preventScroll: true });
    next.scrollIntoView();
  }

  form.hidden = cards.length < 2;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => (event.target.name === "sort" ? sort() : filter()));
  document.querySelector(".reset").addEventListener("click", reset);
  list.addEventListener("input", (event) => {
    const player = event.target.closest(".player");
    if (player) scrub(player, Number(event.target.value));
  });
  list.addEventListener("click", (event) => {
    const button = event.target.closest(".scrub button");
    const curves = event.target.closest(".curves");
    if (button) play(button);
    else if (curves) jump(curves, event);
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    const action = { "/": () => form.elements.text.focus(), j: () => move(1), k: () => move(-1) }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  (window.requestIdleCallback ?? setTimeout)(() => cards.forEach(textOf));
  addEventListener("hashchange", target);
  target();
})();
