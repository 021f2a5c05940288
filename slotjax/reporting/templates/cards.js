// What the explorer and the player share: the examples to choose from, and a card for each slot.

// Shows the first example, and whichever is chosen: `show` is given it and its picture.
const browse = async (examples, noun, show) => {
  const find = (id) => document.getElementById(id), thumbs = [...document.querySelectorAll(".thumb")];
  const choose = async (thumb) => {
    const example = examples.find((one) => one.index === Number(thumb.dataset.index));
    await show(example, thumb.querySelector("img"));
    for (const other of thumbs) other.setAttribute("aria-pressed", other === thumb);
    find("picture-name").textContent = `Held-out ${noun} ${example.index}`;
    find("picture-figures").textContent = example.figures.join(" · ");
  };
  thumbs.forEach((thumb) => thumb.addEventListener("click", () => choose(thumb)));
  find("explorer").hidden = false;
  await choose(thumbs[0]);
  document.body.dataset.ready = "yes";
};

// Pointing at a card, or at a slot's pixels, lights the slot; a click keeps it lit, Escape lets go. A card shows `views`,
// canvases by class, in words; `slotAt` says whose the pixel under a pointer is; `draw` is called when another is lit.
const slotCards = (count, { views, slotAt, draw }) => {
  const find = (id) => document.getElementById(id), state = { lit: null, kept: null };
  const shown = Object.entries(views).map(([name, words]) => `<canvas class="${name}" role="img" aria-label="${words}"></canvas>`);
  let claims = null;
  const cards = [...Array(count).keys()].map((k) => {
    const card = document.createElement("button");
    card.type = "button";
    card.className = "slot";
    card.innerHTML = `<b><i class="key"></i>Slot ${k}</b><span class="views">${shown.join("")}</span><small></small>`;
    for (const event of ["pointerenter", "focus"]) card.addEventListener(event, () => light(k));
    for (const event of ["pointerleave", "blur"]) card.addEventListener(event, () => light(state.kept));
    card.addEventListener("click", () => keep(state.kept === k ? null : k));
    return card;
  });
  const mark = () => {
    cards.forEach((card, k) => {
      card.classList.toggle("lit", k === state.lit);
      card.setAttribute("aria-pressed", k === state.kept);
    });
    const said = claims ? ` ${claims[state.lit]}` : "";
    find("status").textContent = state.lit === null ? "" : `Slot ${state.lit}${said}.`;
  };
  const light = (slot) => {
    if (slot === state.lit) return;
    state.lit = slot;
    mark();
    draw();
  };
  const keep = (slot) => {
    state.kept = state.lit = slot;
    mark();
    draw();
  };
  // In the colours and with the claims of an example.
  const dress = (example) => {
    claims = example.claims;
    cards.forEach((card, k) => {
      card.style.setProperty("--slot", `rgb(${example.colours[k].join(" ")})`);
      card.querySelector("small").textContent = claims ? claims[k] : "";
    });
    mark();
  };
  find("slots").append(...cards);
  document.addEventListener("keydown", (event) => event.key === "Escape" && keep(null));
  for (const id of ["input", "found"]) {
    find(id).addEventListener("pointermove", (event) => light(slotAt(event) ?? state.kept));
    find(id).addEventListener("pointerleave", () => light(state.kept));
  }
  return { state, cards, dress };
};
