// Keeps the state of the index on the study list up to date.
const PAUSE_MS = 3000;
const live = document.querySelector(".live");
const why = live.querySelector(".why");
const known = Number(live.dataset.studies);

function show(state) {
  for (const [name, count] of Object.entries(state.states)) {
    const chip = live.querySelector(`[data-state="${CSS.escape(name)}"]`);
    if (!chip) continue;
    chip.querySelector("b").textContent = count;
    chip.classList.toggle("none", count === 0);
  }
  why.hidden = Object.keys(state.why).length === 0;
  why.querySelector("ul").replaceChildren(...Object.entries(state.why).map(([reason, count]) => {
    const line = document.createElement("li");
    const number = document.createElement("b");
    number.textContent = count;
    line.append(number, ` ${reason}`);
    return line;
  }));
  live.querySelector(".fresh").hidden = state.studies <= known;
}

async function look() {
  if (!document.hidden) {
    try {
      const answer = await fetch("/live.json");
      if (answer.ok) show(await answer.json());
    } catch { /* the server restarts: ask again after the pause */ }
  }
  setTimeout(look, PAUSE_MS);
}

setTimeout(look, PAUSE_MS);

addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, select")) {
    event.preventDefault();
    document.querySelector("input[type=search]").focus();
  }
});
