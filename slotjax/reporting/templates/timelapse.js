// The time-lapse: a slider over pictures of the same examples. A frame that somebody chose is kept when the page renews.
(() => {
  const frames = JSON.parse(document.getElementById("frames").textContent);
  const find = (id) => document.getElementById(id);
  const slider = find("frame"), play = find("play"), last = frames.length - 1;
  const show = (i) => {
    const { step, uri, words } = frames[i], text = `step ${step.toLocaleString("en")}`;
    slider.value = i;
    find("timelapse").src = uri;
    find("timelapse").alt = `Held-out examples at ${text}, a row an example`;
    find("frame-shown").textContent = words ? `${text}: ${words}` : text;
    slider.setAttribute("aria-valuetext", text);
  };
  let timer = null;
  const stop = () => {
    clearInterval(timer);
    timer = null;
    delete document.body.dataset.playing;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  };
  const start = () => {
    if (Number(slider.value) === last) show(0);
    timer = setInterval(() => {
      const next = Number(slider.value) + 1;
      if (next <= last) show(next);
      if (next >= last) stop();
    }, 600);
    document.body.dataset.playing = "yes";
    play.textContent = "Pause";
    play.setAttribute("aria-pressed", "true");
  };
  play.addEventListener("click", () => (timer ? stop() : start()));
  slider.addEventListener("input", () => {
    stop();
    show(Number(slider.value));
    history.replaceState(slider.value < last ? { step: frames[slider.value].step } : null, "");
  });
  const kept = frames.findIndex((frame) => frame.step === history.state?.step);
  show(kept < 0 ? last : kept);
})();
