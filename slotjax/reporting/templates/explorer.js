// The slot explorer. A picture, a lit slot and an iteration make up all of its state; `draw` shows it.
(async () => {
  const { settings, examples } = JSON.parse(document.getElementById("pictures").textContent);
  const [height, width] = settings.size, [rows, columns] = settings.grid;
  const zoom = Math.max(1, Math.round(384 / width));
  const find = (id) => document.getElementById(id);
  const thumbs = [...document.querySelectorAll(".thumb")];
  const slots = [...Array(settings.slots).keys()];
  const state = { picture: null, lit: null, kept: null, iteration: settings.iterations };

  const css = (slot) => `rgb(${state.picture.colours[slot].join(" ")})`;
  const load = async (uri) => {
    const image = new Image();
    image.src = uri;
    await image.decode();
    return image;
  };
  const pixels = (image) => {
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  };
  // One tile of a sheet, as numbers 0..255.
  const tile = (sheet, row, column, h, w) => {
    const values = new Uint8Array(h * w);
    for (let y = 0; y < h; y++)
      for (let x = 0; x < w; x++) values[y * w + x] = sheet.data[4 * ((row * h + y) * sheet.width + column * w + x)];
    return values;
  };
  // A canvas of h x w pixels, painted by (position) -> [r, g, b, a].
  const paint = (h, w, colour) => {
    const canvas = new OffscreenCanvas(w, h), context = canvas.getContext("2d"), image = context.createImageData(w, h);
    for (let i = 0; i < h * w; i++) image.data.set(colour(i), 4 * i);
    context.putImageData(image, 0, 0);
    return canvas;
  };
  const show = (canvas, ...layers) => {
    canvas.width = width * zoom;
    canvas.height = height * zoom;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    for (const layer of layers) context.drawImage(layer, 0, 0, canvas.width, canvas.height);
    return context;
  };
  // Hides the input where a slot's weights [h * w] are low, and tints it where they are high, so that black shows too.
  const glow = (weights, h, w, slot) => paint(h, w, (i) => {
    const part = weights[i] / 255, tint = 0.38 * part, dim = 0.85 * (1 - part), alpha = tint + dim;
    return [0, 1, 2].map((c) => (tint * state.picture.colours[slot][c] + dim * 14) / alpha).concat(255 * alpha);
  });

  // The border of the pixels that a slot wins, on a canvas already drawn.
  const outline = (context, owner, slot) => {
    const edges = new Path2D(), is = (x, y) => x >= 0 && y >= 0 && x < width && y < height && owner[y * width + x] === slot;
    const line = (x0, y0, x1, y1) => { edges.moveTo(x0 * zoom, y0 * zoom); edges.lineTo(x1 * zoom, y1 * zoom); };
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        if (!is(x, y)) continue;
        if (!is(x, y - 1)) line(x, y, x + 1, y);
        if (!is(x, y + 1)) line(x, y + 1, x + 1, y + 1);
        if (!is(x - 1, y)) line(x, y, x, y + 1);
        if (!is(x + 1, y)) line(x + 1, y, x + 1, y + 1);
      }
    for (const [colour, thickness] of [["#000", 6], [css(slot), 3]]) {
      context.strokeStyle = colour;
      context.lineWidth = thickness;
      context.stroke(edges);
    }
  };

  const draw = () => {
    const { picture, lit, iteration } = state;
    if (!picture) return;
    const shown = find("input");
    if (lit === null) show(shown, picture.input);
    else outline(show(shown, picture.input, glow(picture.weights[lit], height, width, lit)), picture.owner, lit);
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
    else show(find("attention"), picture.input, glow(maps[lit], rows, columns, lit));
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
      card.style.setProperty("--slot", css(k));
      const drawn = card.querySelector(".draws");
      if (drawn) {
        drawn.width = width * zoom;
        drawn.height = height * zoom;
        const context = drawn.getContext("2d");
        context.imageSmoothingEnabled = false;
        context.drawImage(picture.slots, k * width, 0, width, height, 0, 0, drawn.width, drawn.height);
      }
      show(card.querySelector(".attends"), picture.input, glow(picture.attention[iteration - 1][k], rows, columns, k));
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
    find(id).addEventListener("pointermove", (event) => {
      const box = event.target.getBoundingClientRect();
      const x = Math.floor(((event.clientX - box.left) / box.width) * width);
      const y = Math.floor(((event.clientY - box.top) / box.height) * height);
      light(state.picture.owner[Math.min(y, height - 1) * width + Math.min(x, width - 1)] ?? state.kept);
    });
    find(id).addEventListener("pointerleave", () => light(state.kept));
  }
  find("explorer").hidden = false;
  await choose(thumbs[0]);
  document.body.dataset.ready = "yes";
})();
