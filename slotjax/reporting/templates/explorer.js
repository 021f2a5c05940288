// The slot explorer. A picture, a lit slot and an iteration make up all of its state; `draw` shows it.
(async () => {
  const { settings, examples } = JSON.parse(document.getElementById("pictures").textContent);
  const [height, width] = settings.size, [rows, columns] = settings.grid;
  const find = (id) => document.getElementById(id);
  const slots = [...Array(settings.slots).keys()], iterations = [...Array(settings.iterations).keys()];
  let picture = null, iteration = settings.iterations;

  const { load, pixels, tile, paint, show, cut, glow, outline, under } = canvases(settings.size);

  const draw = () => {
    if (!picture) return;
    const { lit } = state, { colours, owner } = picture;
    const shown = find("input");
    if (lit === null) show(shown, picture.input);
    else {
      const over = glow(picture.weights[lit], height, width, colours[lit]);
      outline(show(shown, picture.input, over), owner, lit, colours[lit]);
    }
    shown.setAttribute("aria-label", lit === null ? "Input" : `Input, lit where slot ${lit} is`);
    shown.dataset.lit = lit ?? "";

    const faded = (k) => (lit === null || lit === k ? 255 : 60);
    show(find("found"), paint(height, width, (i) => [...colours[owner[i]], faded(owner[i])]));
    find("found").setAttribute("aria-label", "Found segments, each in its slot's colour");

    const maps = picture.attention[iteration - 1];
    if (lit === null)
      show(find("attention"), paint(rows, columns, (i) => {
        const total = slots.reduce((sum, k) => sum + maps[k][i], 0) || 1;
        return [0, 1, 2].map((c) => slots.reduce((sum, k) => sum + maps[k][i] * colours[k][c], 0) / total).concat(255);
      }));
    else show(find("attention"), picture.input, glow(maps[lit], rows, columns, colours[lit]));
    const whose = lit === null ? "of all slots, mixed by their colours" : `of slot ${lit}`;
    find("attention").setAttribute("aria-label", `Attention ${whose}, iteration ${iteration}`);
  };

  const drawn = settings.draws ? { draws: "what it draws" } : {};
  const { state, cards, dress } = slotCards(settings.slots, {
    views: { ...drawn, attends: "where it attends" },
    slotAt: (event) => picture.owner[under(event)],
    draw,
  });

  const drawCards = () => {
    for (const text of document.querySelectorAll(".iteration")) text.textContent = iteration;
    find("iteration-shown").textContent = `${iteration} of ${settings.iterations}`;
    cards.forEach((card, k) => {
      if (settings.draws) cut(card.querySelector(".draws"), picture.slots, 0, k);
      const attended = glow(picture.attention[iteration - 1][k], rows, columns, picture.colours[k]);
      show(card.querySelector(".attends"), picture.input, attended);
    });
    draw();
  };

  find("iteration").addEventListener("input", (event) => {
    iteration = Number(event.target.value);
    drawCards();
  });
  await browse(examples, "image", async (example, input) => {
    const sheets = await Promise.all(["attention", "weights", "owner"].map((name) => load(example[name]).then(pixels)));
    const [attention, weights, owner] = sheets;
    picture = {
      input,
      slots: example.slots && (await load(example.slots)),
      attention: iterations.map((t) => slots.map((k) => tile(attention, t, k, rows, columns))),
      weights: slots.map((k) => tile(weights, 0, k, height, width)),
      colours: example.colours,
      owner: tile(owner, 0, 0, height, width),
    };
    for (const name of ["reconstruction", "truth", "predicted", "masks"]) if (find(name)) find(name).src = example[name];
    dress(example);
    drawCards();
  });
})();
