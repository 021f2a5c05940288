// The player of videos. A video, a frame and a lit slot make up all of its state; `draw` shows it.
(async () => {
  const { settings, examples } = JSON.parse(document.getElementById("pictures").textContent);
  const [height, width] = settings.size;
  const { load, pixels, tile, paint, show, cut, glow, outline, under } = canvases(settings.size);
  const find = (id) => document.getElementById(id);
  const thumbs = [...document.querySelectorAll(".thumb")];
  const slots = [...Array(settings.slots).keys()];
  const state = { video: null, frame: 0, lit: null, kept: null };
  const owner = () => state.video.owners[state.frame];

  const draw = () => {
    const { video, frame, lit } = state;
    if (!video) return;
    for (const name of ["reconstruction", "truth"]) if (find(name)) cut(find(name), video[name], 0, frame);
    const shown = cut(find("input"), video.input, 0, frame);
    if (lit !== null) outline(shown, owner(), lit, video.colours[lit]);
    find("input").dataset.lit = lit ?? "";
    const faded = (k) => (lit === null || lit === k ? 255 : 60);
    show(find("found"), paint(height, width, (i) => [...video.colours[owner()[i]], faded(owner()[i])]));

    for (const card of document.querySelectorAll(".slot")) {
      const k = Number(card.dataset.slot);
      cut(card.querySelector(".draws"), video.slots, k, frame);
      const won = cut(card.querySelector(".wins"), video.input, 0, frame);
      won.drawImage(glow(owner().map((one) => 255 * (one === k)), height, width, video.colours[k]), 0, 0, won.canvas.width, won.canvas.height);
      card.classList.toggle("lit", k === lit);
      card.setAttribute("aria-pressed", k === state.kept);
    }
    const text = `frame ${frame + 1} of ${settings.frames}`;
    find("moment-shown").textContent = text;
    find("moment").setAttribute("aria-valuetext", text);
  };

  const light = (slot) => {
    if (slot === state.lit) return;
    state.lit = slot;
    find("status").textContent = slot === null ? "" : `Slot ${slot} ${state.video.claims[slot]}.`;
    draw();
  };
  const keep = (slot) => {
    state.kept = state.kept === slot ? null : slot;
    light(state.kept);
    draw();
  };
  const play = playable(find("moment"), find("play-video"), {
    milliseconds: 150,
    loop: true,
    show: (frame) => {
      state.frame = frame;
      draw();
    },
  });

  const choose = async (thumb) => {
    const example = examples.find((one) => one.index === Number(thumb.dataset.index));
    const names = ["reconstruction", "truth", "slots", "owner"].filter((name) => name in example);
    const sheets = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await load(example[name])])));
    const owners = pixels(sheets.owner), frames = [...Array(settings.frames).keys()];
    state.video = { ...example, ...sheets, input: thumb.querySelector("img") };
    state.video.owners = frames.map((t) => tile(owners, 0, t, height, width));
    for (const other of thumbs) other.setAttribute("aria-pressed", other === thumb);
    for (const card of document.querySelectorAll(".slot")) {
      const k = Number(card.dataset.slot);
      card.style.setProperty("--slot", `rgb(${example.colours[k].join(" ")})`);
      card.querySelector("small").textContent = example.claims[k];
    }
    find("picture-name").textContent = `Held-out video ${example.index}`;
    find("picture-figures").textContent = example.figures.join(" · ");
    draw();
  };

  const card = (k) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "slot";
    button.dataset.slot = k;
    const draws = '<canvas class="draws" role="img" aria-label="what it draws"></canvas>';
    const wins = '<canvas class="wins" role="img" aria-label="the pixels that it wins"></canvas>';
    button.innerHTML = `<b><i class="key"></i>Slot ${k}</b><span class="views">${draws}${wins}</span><small></small>`;
    button.addEventListener("pointerenter", () => light(k));
    button.addEventListener("pointerleave", () => light(state.kept));
    button.addEventListener("focus", () => light(k));
    button.addEventListener("blur", () => light(state.kept));
    button.addEventListener("click", () => keep(k));
    return button;
  };

  find("slots").append(...slots.map(card));
  thumbs.forEach((thumb) => thumb.addEventListener("click", () => choose(thumb)));
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  document.querySelector(".explorer").parentElement.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (key === "Escape") {
      state.kept = null;
      light(null);
    } else if (key === " " && target.tagName !== "BUTTON") {
      event.preventDefault();
      play.toggle();
    } else if (key in steps && target !== find("moment")) {
      event.preventDefault();
      play.choose(state.frame + steps[key]);
    }
  });
  for (const id of ["input", "found"]) {
    find(id).addEventListener("pointermove", (event) => light(owner()[under(event)] ?? state.kept));
    find(id).addEventListener("pointerleave", () => light(state.kept));
  }
  find("explorer").hidden = false;
  await choose(thumbs[0]);
  document.body.dataset.ready = "yes";
})();
