// Looks for a newer page while the run goes on: not under somebody's hands, and not for ever.
(() => {
  const going = document.getElementById("going");
  const { written, every, until } = going.dataset;
  let touched = 0;
  for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "input"])
    addEventListener(kind, () => { touched = Date.now(); }, { passive: true });
  const look = () => {
    if (Date.now() / 1000 - written > until)
      going.textContent = "Nothing new for long: the run seems to have ended. Reload the page to look again.";
    else if (document.hidden || document.body.dataset.playing || Date.now() - touched < 5000) setTimeout(look, 1000);
    else location.reload();
  };
  setTimeout(look, 1000 * every);
})();
