// The player of videos. A video, a frame and a lit slot make up all of its state; `draw` shows it.
(async () => {
  const { settings, examples } = JSON.parse(document.getElementById("pictures").textContent);
  const [height, width] = settings.size;
  const { load, pixels, tile, paint, show, cut, glow, outline, under } = canvases(settings.size);
  const find = (id) => document.getElementById(id);
  let video = null, frame = 0;

  const draw = () => {
    if (!video) return;
    const { lit } = state, { colours } = video, owner = video.owners[frame];
    for (const name of ["reconstruction", "truth"]) if (find(name)) cut(find(name), video[name], 0, frame);
    const shown = cut(find("input"), video.input, 0, frame);
    if (lit !== null) outline(shown, owner, lit, colours[lit]);
    find("input").dataset.lit = lit ?? "";
    const faded = (k) => (lit === null || lit === k ? 255 : 60);
    show(find("found"), paint(height, width, (i) => [...colours[owner[i]], faded(owner[i])]));

    cards.forEach((card, k) => {
      cut(card.querySelector(".draws"), video.slots, k, frame);
      const won = cut(card.querySelector(".wins"), video.input, 0, frame);
      const over = glow(owner.map((one) => 255 * (one === k)), height, width, colours[k]);
      won.drawImage(over, 0, 0, won.canvas.width, won.canvas.height);
    });
    const text = `frame ${frame + 1} of ${settings.frames}`;
    find("moment-shown").textContent = text;
    find("moment").setAttribute("aria-valuetext", text);
  };

  const { state, cards, dress } = slotCards(settings.slots, {
    views: { draws: "what it draws", wins: "the pixels that it wins" },
    slotAt: (event) => video.owners[frame][under(event)],
    draw,
  });
  const play = playable(find("moment"), find("play-video"), {
    milliseconds: 150,
    loop: true,
    show: (i) => {
      frame = i;
      draw();
    },
  });

  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  document.querySelector(".explorer").parentElement.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (event.altKey || event.ctrlKey || event.metaKey) return; // the browser's own
    if (key === " " && target.tagName !== "BUTTON") {
      event.preventDefault();
      play.toggle();
    } else if (key in steps && target !== find("moment")) {
      event.preventDefault();
      play.choose(frame + steps[key]);
    }
  });
  await browse(examples, "video", async (example, input) => {
    const names = ["reconstruction", "truth", "slots", "owner"].filter((name) => name in example);
    const sheets = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await load(example[name])])));
    const owners = pixels(sheets.owner), frames = [...Array(settings.frames).keys()];
    video = { ...example, ...sheets, input, owners: frames.map((t) => tile(owners, 0, t, height, width)) };
    dress(example);
    draw();
  });
})();
