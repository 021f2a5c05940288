"""The report in a browser: with the mouse, with the keyboard, on a phone, and without the network."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_pages import decode, drawn, written

from slotjax.report import report
from slotjax.reporting import history, player, single
from slotjax.reporting.page import Reload
from slotjax.reporting.scoring import Scores
from slotjax.system.writing import write_text


def visit(browser, path: Path, width: int = 1200, scheme: str = "light") -> None:
    """Opens a page at a width in pixels, in light or dark, and waits until its script has drawn."""
    from selenium.webdriver.support.ui import WebDriverWait

    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.get(path.as_uri())
    done = "return !document.getElementById('pictures') || document.body.dataset.ready === 'yes'"
    WebDriverWait(browser, 30).until(lambda b: b.execute_script(done))


def canvas(browser, name: str) -> np.ndarray:
    """The pixels of a canvas, [h, w, 3]."""
    uri = browser.execute_script("return document.getElementById(arguments[0]).toDataURL()", name)
    return decode(uri)[..., :3].astype(float)


def find(browser, selector: str):
    return browser.find_elements("css selector", selector)


def test_explorer_with_the_mouse(reported, chromium, tmp_path):
    from selenium.webdriver import ActionChains

    visit(chromium, reported / "report.html")
    plain = canvas(chromium, "input")
    slots = find(chromium, ".slot")
    assert len(slots) == 5
    ActionChains(chromium).scroll_to_element(slots[1]).move_to_element(slots[1]).perform()
    lit = canvas(chromium, "input")
    assert find(chromium, "#input")[0].get_attribute("data-lit") == "1"
    assert find(chromium, "#status")[0].text.startswith("Slot 1 wins")
    assert np.abs(lit - plain).mean() > 5  # what is not the slot's is dimmed

    heading = find(chromium, "#scores-title")[0]
    ActionChains(chromium).move_to_element(heading).perform()
    np.testing.assert_array_equal(canvas(chromium, "input"), plain)

    before = canvas(chromium, "attention")
    slider = find(chromium, "#iteration")[0]
    far_left = -slider.size["width"] // 2
    ActionChains(chromium).move_to_element_with_offset(slider, -far_left - 8, 0).click_and_hold().move_by_offset(
        2 * far_left + 16, 0
    ).release().perform()
    assert find(chromium, "#iteration-shown")[0].text == "1 of 2"
    assert np.abs(canvas(chromium, "attention") - before).max() > 0  # the attention of the first iteration is another

    worst = find(chromium, ".thumb")[-1]
    ActionChains(chromium).scroll_to_element(worst).click(worst).perform()
    assert worst.get_attribute("aria-pressed") == "true"
    assert find(chromium, "#picture-name")[0].text == f"Held-out image {worst.get_attribute('data-index')}"
    assert np.abs(canvas(chromium, "input") - plain).max() > 0

    picture = tmp_path / "page.png"
    assert chromium.save_screenshot(str(picture))
    pixels_shown = np.asarray(Image.open(picture).convert("RGB"))
    assert pixels_shown.shape[1] == 1200 and len(np.unique(pixels_shown.reshape(-1, 3), axis=0)) > 100


def test_explorer_with_the_keyboard(reported, chromium):
    from selenium.webdriver import ActionChains, Keys

    def press(*keys):
        ActionChains(chromium).send_keys(*keys).perform()

    def lit():
        return find(chromium, "#input")[0].get_attribute("data-lit")

    visit(chromium, reported / "report.html")
    chromium.execute_script("document.querySelector('#iteration').focus()")
    press(Keys.ARROW_LEFT)
    assert find(chromium, "#iteration-shown")[0].text == "1 of 2"
    press(Keys.TAB, Keys.TAB)
    assert lit() == "1"
    press(Keys.ENTER, Keys.TAB, Keys.TAB)
    assert find(chromium, ".slot")[1].get_attribute("aria-pressed") == "true"
    assert lit() == "3"  # where the focus is
    chromium.execute_script("document.activeElement.blur()")
    assert lit() == "1"  # the kept one
    press(Keys.ESCAPE)
    assert lit() == "" and not find(chromium, ".slot[aria-pressed=true]")
    chromium.execute_script("document.querySelectorAll('.thumb')[1].focus()")
    press(Keys.SPACE)
    assert find(chromium, ".thumb")[1].get_attribute("aria-pressed") == "true"


def test_light_dark_phone_and_no_network(reported, chromium, tmp_path):
    runs = [written(tmp_path / f"seed_{i}", i, [0.1, end]) for i, end in enumerate((0.95, 0.6))]
    chromium.get_log("performance"), chromium.get_log("browser")
    backgrounds = {}
    for page in (reported / "report.html", report(runs)):
        for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light"), (360, "light")):
            visit(chromium, page, width, scheme)
            assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
            for table in find(chromium, ".cards"):
                assert table.size["width"] <= find(chromium, "main")[0].size["width"]
            style = "return getComputedStyle(document.body).backgroundColor"
            backgrounds[scheme] = chromium.execute_script(style)
    assert backgrounds["light"] != backgrounds["dark"]
    assert not chromium.get_log("browser")  # no error, no warning
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert asked and all(url.startswith(("file:", "data:")) for url in asked)


@pytest.mark.parametrize("width", [1280, 390])
def test_a_comparison_begins_with_runs_and_figures(width, chromium, tmp_path):
    """Without scrolling in any direction, whatever the runs are called and however much their configs differ."""
    ends = {"a_run_with_a_name_of_many_words": 0.9712, "b": 0.9534}
    runs = [written(tmp_path / name, i, [0.1, end]) for i, (name, end) in enumerate(ends.items())]
    for path, changes in zip(runs, ({"learning_rate": 1e-3, "clip_norm": 0.05, "decay_steps": 12345}, {}), strict=True):
        config = json.loads((path / "config.json").read_text())
        config["train"] |= changes
        (path / "config.json").write_text(json.dumps(config))
    visit(chromium, report(runs), width)
    shown = {}
    for cell in find(chromium, "table:first-of-type tbody *"):
        box = cell.rect
        if box["x"] >= 0 and box["x"] + box["width"] <= width and box["y"] + box["height"] <= 900:
            shown[cell.text.strip()] = True
    for name, end in ends.items():
        assert name in shown and f"{end:.3f}" in shown and f"{(1 + end) / 2:.3f}" in shown
    legend = find(chromium, ".legend")[0]
    assert legend.size["height"] < 60 and all(name in legend.text for name in ends)


def test_time_lapse_and_a_page_that_renews_itself(chromium, tmp_path):
    """A slider, and a button that plays; new evaluations appear, a chosen one stays, and at the end all is quiet."""
    from selenium.webdriver import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    run = drawn(written(tmp_path / "run", 0, [0.2, 0.5, 0.9]))
    rows = (run / "metrics.jsonl").read_text().splitlines(keepends=True)

    def write(evaluations: int, going: bool = True) -> None:
        (run / "metrics.jsonl").write_text("".join(rows[: 2 * evaluations]))
        reload = Reload(0.3, 300) if going else None
        page = single.build(history.read(run), brief=True, reload=reload)[0]
        write_text(run / "report.html", page)  # at once, as a run does: half a page has no time-lapse

    def shown() -> str:
        return chromium.execute_script("return document.getElementById('frame-shown')?.textContent ?? ''")

    def until(text: str) -> None:
        WebDriverWait(chromium, 20, ignored_exceptions=[Exception]).until(lambda _: shown().startswith(text))

    chromium.get_log("browser")
    write(1)
    visit(chromium, run / "report.html")
    until("step 10: FG-ARI of the responsibilities 0.600")
    write(2)
    until("step 20")
    write(2, going=False)
    ended = "return document.readyState === 'complete' && !document.getElementById('going')"
    WebDriverWait(chromium, 20).until(lambda browser: browser.execute_script(ended))
    chromium.execute_script("window.here = 'still'")

    bright = chromium.execute_script("return document.getElementById('timelapse').src")
    find(chromium, "#frame")[0].send_keys(Keys.ARROW_LEFT)
    until("step 10")
    assert chromium.execute_script("return document.getElementById('timelapse').src") != bright
    chromium.refresh()
    until("step 10")  # what was chosen is kept
    chromium.execute_script("window.here = 'still'")
    find(chromium, "#frame")[0].send_keys(Keys.END)
    until("step 20")
    find(chromium, "#play")[0].click()
    until("step 0")  # from the beginning
    until("step 20")
    assert find(chromium, "#play")[0].text == "Play"
    assert chromium.execute_script("return window.here") == "still"  # nothing was loaded again
    assert not chromium.get_log("browser")
    for width in (1280, 390):
        visit(chromium, run / "report.html", width)
        assert chromium.execute_script("return document.documentElement.scrollWidth") <= width


def a_film(row: int) -> player.Film:
    """A white square, slot 1's, that goes two pixels to the right in each of five frames of 16x16 pixels."""
    owner = np.zeros((5, 16, 16), int)
    for t in range(5):
        owner[t, row : row + 4, 2 * t : 2 * t + 4] = 1
    image = np.where(owner[..., None] == 1, 1.0, -1.0).repeat(3, -1)
    masks = np.stack([owner == 0, owner == 1], 1).astype(np.float32)
    components = np.stack([-np.ones_like(image), np.ones_like(image)], 1)
    seen = {"image": image, "drawn": 0.5 * image, "masks": masks, "components": components, "owner": owner}
    return player.in_bytes(seen | {"segments": owner})


@pytest.fixture
def played(tmp_path, monkeypatch) -> Path:
    """The page about a run on two videos."""
    run = drawn(written(tmp_path / "run", 0, [0.2, 0.9]))
    figures = {"posterior_fg_ari": np.array([0.9, 0.1])}
    scores, films = Scores({"slots": figures}, {}, list(figures)), {0: a_film(2), 1: a_film(10)}
    explorer = player.build(history.read(run), scores, films, [("best", 0), ("worst", 1)], 64)
    monkeypatch.setattr(single, "look", lambda _: single.Seen(explorer=explorer))
    (run / "report.html").write_text(single.build(history.read(run))[0])
    return run / "report.html"


def test_videos_play(played, chromium):
    """A button and the space bar play, slider and arrows go from frame to frame; a slot keeps its colour."""
    from selenium.webdriver import ActionChains, Keys
    from selenium.webdriver.support.ui import WebDriverWait

    def shown() -> str:
        return find(chromium, "#moment-shown")[0].text

    def until(frame: int) -> None:
        WebDriverWait(chromium, 20, 0.05).until(lambda _: shown() == f"frame {frame} of 5")

    def press(*keys) -> None:
        ActionChains(chromium).send_keys(*keys).perform()

    chromium.get_log("browser")
    visit(chromium, played)
    slider, button = (find(chromium, f"#{name}")[0] for name in ("moment", "play-video"))
    slider.send_keys(Keys.HOME)
    colours = []
    for t in range(5):  # the square is where it should be, and in one colour
        assert shown() == f"frame {t + 1} of 5"
        found = canvas(chromium, "found")[:: 384 // 16, :: 384 // 16]
        square = np.zeros((16, 16), bool)
        square[2:6, 2 * t : 2 * t + 4] = True
        np.testing.assert_array_equal((found != found[15, 15]).any(-1), square)
        np.testing.assert_array_equal(canvas(chromium, "truth")[:: 384 // 16, :: 384 // 16], found)
        colours.append(np.unique(found[square], axis=0))
        slider.send_keys(Keys.ARROW_RIGHT)
    assert all(len(colour) == 1 and (colour == colours[0]).all() for colour in colours)

    button.click()  # from the end on to the beginning, and round again
    until(5), until(1)
    assert button.text == "Pause"
    button.click()
    assert button.text == "Play"
    find(chromium, "#stage")[0].click()
    press(Keys.SPACE)
    assert button.text == "Pause"
    press(Keys.ARROW_LEFT, *[Keys.ARROW_LEFT] * 5)
    assert (button.text, shown()) == ("Play", "frame 1 of 5")
    press(Keys.ARROW_RIGHT)
    assert shown() == "frame 2 of 5"

    plain, card = canvas(chromium, "input"), find(chromium, ".slot")[1]
    ActionChains(chromium).scroll_to_element(card).move_to_element(card).perform()
    assert np.abs(canvas(chromium, "input") - plain).max() > 0  # outlined
    assert find(chromium, "#status")[0].text == "Slot 1 wins 6% of the pixels; nearest to object 1 (IoU 1.00)."
    worst = find(chromium, ".thumb")[-1]
    ActionChains(chromium).scroll_to_element(worst).click(worst).perform()
    WebDriverWait(chromium, 20).until(lambda b: find(b, "#picture-name")[0].text == "Held-out video 1")
    assert canvas(chromium, "input")[12 * 24, 4 * 24].min() == 255 and shown() == "frame 2 of 5"

    lapse = find(chromium, "#frame-shown")[0].text
    find(chromium, "#frame")[0].send_keys(Keys.ARROW_LEFT)
    assert find(chromium, "#frame-shown")[0].text != lapse and shown() == "frame 2 of 5"
    for width in (1280, 390):
        visit(chromium, played, width)
        assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    assert not chromium.get_log("browser")
