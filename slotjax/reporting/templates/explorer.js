// The slot explorer. A picture, a lit slot and an iteration make up all of its state; `draw` shows it.
(async () => {
  const { settings, examples } = JSON.parse(document.getElementById("pictures").textContent);
  const [height, width] = settings.size, [rows, columns] = settings.grid;
  const find = (id) => document.getElementById(id);
  const thumbs = [...document.querySelectorAll(".thumb")];
  const slots = [...Array(settings.slots).keys()];
  const state = { picture: null, lit: null, kept: null, iteration: settings.iterations };

  const { load, pixels, tile, paint, show, cut, glow, outline, under } = canvases(settings.size);
  const colour = (slot) => state.picture.colours[slot];

  const draw = () => {
    const { picture, lit, iteration } = state;
    if (!picture) return;
    const shown = find("input");
    if (lit === null) show(shown, picture.input);
    else {
      const over = glow(picture.weights[lit], height, width, colour(lit));
      outline(show(shown, picture.input, over), picture.owner, lit, colour(lit));
    }
    shown.setAttribute("aria-label", lit === null ? "Input" : `Input, lit where slot ${lit} is`);
    shown.dataset.lit = lit ?? "";

    const faded = (k) => (lit === null || lit === k ? 255 : 60);
    show(find("found"), paint(height, width, (i) => [...picture.colours[picture.owner[i]], faded(picture.owner[i])]));
    find("found").setAttribute("aria-label", "Found segments, each in its slot's colour");

    const maps = picture.attention[iteration - 1];
    if (lit === null)
      show(find("attention"), paint(rows, columns, (i) => {
        const total = slots.reduce((sum, k) => sum + maps[k][i], 0) || 1;
        return [0, 1, 2].map((c) => slots.reduce((sum, k) => sum + maps[k][i] * picture.colours[k][c], 0) / total).concat(255);
      }));
    else show(find("attention"), picture.input, glow(maps[lit], rows, columns, colour(lit)));
    const whose = lit === null ? "of all slots, mixed by their colours" : `of slot ${lit}`;
    find("attention").setAttribute("aria-label", `Attention ${whose}, iteration ${iteration}`);

    for (const card of document.querySelectorAll(".slot")) {
      const k = Number(card.dataset.slot);
      card.classList.toggle("lit", k === lit);
      card.setAttribute("aria-pressed", k === state.kept);
    }
    find("status").textContent = lit === null ? "" : `Slot ${lit}${picture.claims ? " " + picture.claims[lit] : ""}.`;
  };

  const drawCards = () => {
    const { picture, iteration } = state;
    for (const text of document.querySelectorAll(".iteration")) text.textContent = iteration;
    find("iteration-shown").textContent = `${iteration} of ${settings.iterations}`;
    for (const card of document.querySelectorAll(".slot")) {
      const k = Number(card.dataset.slot);
      card.style.setProperty("--slot", `rgb(${colour(k).join(" ")})`);
      if (settings.draws) cut(card.querySelector(".draws"), picture.slots, 0, k);
      const attended = glow(picture.attention[iteration - 1][k], rows, columns, colour(k));
      show(card.querySelector(".attends"), picture.input, attended);
      card.querySelector("small").textContent = picture.claims ? picture.claims[k] : "";
    }
    draw();
  };

  const light = (slot) => {
    if (slot === state.lit) return;
    state.lit = slot;
    draw();
  };
  const keep = (slot) => {
    state.kept = state.kept === slot ? null : slot;
    state.lit = state.kept;
    draw();
  };

  const choose = async (thumb) => {
    const example = examples.find((one) => one.index === Number(thumb.dataset.index));
    const sheets = await Promise.all(["attention", "weights", "owner"].map((name) => load(example[name]).then(pixels)));
    const [attention, weights, owner] = sheets;
    state.picture = {
      input: thumb.querySelector("img"),
      slots: example.slots && (await load(example.slots)),
      attention: [...Array(settings.iterations).keys()].map((t) => slots.map((k) => tile(attention, t, k, rows, columns))),
      weights: slots.map((k) => tile(weights, 0, k, height, width)),
      colours: example.colours,
      owner: tile(owner, 0, 0, height, width),
      claims: example.claims,
    };
    for (const name of ["reconstruction", "truth", "predicted", "masks"]) if (find(name)) find(name).src = example[name];
    for (const other of thumbs) other.setAttribute("aria-pressed", other === thumb);
    find("picture-name").textContent = `Held-out image ${example.index}`;
    find("picture-figures").textContent = example.figures.join(" · ");
    drawCards();
  };

  const card = (k) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "slot";
    button.dataset.slot = k;
    const draws = settings.draws ? '<canvas class="draws" role="img" aria-label="what it draws"></canvas>' : "";
    const attends = '<canvas class="attends" role="img" aria-label="where it attends"></canvas>';
    button.innerHTML = `<b><i class="key"></i>Slot ${k}</b><span class="views">${draws}${attends}</span><small></small>`;
    button.addEventListener("pointerenter", () => light(k));
    button.addEventListener("pointerleave", () => light(state.kept));
    button.addEventListener("focus", () => light(k));
    button.addEventListener("blur", () => light(state.kept));
    button.addEventListener("click", () => keep(k));
    return button;
  };

  find("slots").append(...slots.map(card));
  thumbs.forEach((thumb) => thumb.addEventListener("click", () => choose(thumb)));
  find("iteration").addEventListener("input", (event) => {
    state.iteration = Number(event.target.value);
    drawCards();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    state.kept = null;
    light(null);
  });
  for (const id of ["input", "found"]) {
    find(id).addEventListener("pointermove", (event) => light(state.picture.owner[under(event)] ?? state.kept));
    find(id).addEventListener("pointerleave", () => light(state.kept));
  }
  find("explorer").hidden = false;
  await choose(thumbs[0]);
  document.body.dataset.ready = "yes";
})();
