// The time-lapse: a slider over pictures of the same examples. A frame that somebody chose is kept when the page renews.
(() => {
  const frames = JSON.parse(document.getElementById("frames").textContent);
  const find = (id) => document.getElementById(id);
  const slider = find("frame"), last = frames.length - 1;
  const show = (i) => {
    const { step, uri, words } = frames[i], text = `step ${step.toLocaleString("en")}`;
    find("timelapse").src = uri;
    find("timelapse").alt = `Held-out examples at ${text}, a row an example`;
    find("frame-shown").textContent = words ? `${text}: ${words}` : text;
    slider.setAttribute("aria-valuetext", text);
  };
  const { go } = playable(slider, find("play"), { show, milliseconds: 600 });
  slider.addEventListener("input", () => {
    history.replaceState(slider.value < last ? { step: frames[slider.value].step } : null, "");
  });
  const kept = frames.findIndex((frame) => frame.step === history.state?.step);
  go(kept < 0 ? last : kept);
})();
