// A slider, and a button that plays what it goes through; `show` is told each new position.
const playable = (slider, button, { show, milliseconds, loop = false }) => {
  const last = Number(slider.max);
  let timer = null;
  const go = (i) => {
    slider.value = i;
    show(i);
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    delete document.body.dataset.playing;
    button.textContent = "Play";
    button.setAttribute("aria-pressed", "false");
  };
  const start = () => {
    if (Number(slider.value) === last) go(0);
    timer = setInterval(() => {
      const next = Number(slider.value) + 1;
      go(next > last ? 0 : next);
      if (next >= last && !loop) stop();
    }, milliseconds);
    document.body.dataset.playing = "yes";
    button.textContent = "Pause";
    button.setAttribute("aria-pressed", "true");
  };
  const toggle = () => (timer ? stop() : start());
  // To a position that somebody chose.
  const choose = (i) => {
    stop();
    go(Math.min(Math.max(i, 0), last));
  };
  button.addEventListener("click", toggle);
  slider.addEventListener("input", () => choose(Number(slider.value)));
  return { go, toggle, choose };
};
