"""The demo: slots hidden, moved and swapped; and its page in a browser, which asks no other machine for anything."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT, config_of, untrained
from PIL import Image

from slotjax.demo import __main__ as demo
from slotjax.demo import scene, server
from slotjax.errors import UserError
from slotjax.models import build_model
from slotjax.reporting.own_pictures import Trained


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A model that draws its slots in frames of their own."""
    return untrained(config_of("clevr:small,tiny"), tmp_path_factory.mktemp("demo") / "run")


@pytest.fixture(scope="module")
def table(workdir):
    return scene.Table(workdir, None)


@pytest.fixture(scope="module")
def seen(table):
    return table.see(table.random(1), 3, 2)


def test_a_picture_is_taken_apart_and_put_together(table, seen):
    assert (seen.num_slots, seen.picture.shape) == (3, (*table.model.resolution, 3))
    whole = scene.draw.to_uint8(np.asarray(seen.out.reconstruction)[0]).astype(int)
    assert np.abs(table.rebuilt(seen, scene.Edit()) - whole).max() <= 1
    assert scene.segments(seen, 0.3).shape == (256, 256, 3) == scene.enlarged(seen.picture).shape
    panels = scene.panels(seen)
    assert [tuple(panel[0, 0]) for panel in panels] == [tuple(colour) for colour in scene.draw.colours(3)]


def test_edits_change_the_slots_they_name(table, seen):
    other = table.see(table.random(2), 3, 2)
    slots, size = np.asarray(seen.out.slots), table.model.decoder.frame.size
    np.testing.assert_array_equal(scene.edited(seen, scene.Edit(hidden=[0, 2]), size), slots[:, 1:2])
    moved = scene.edited(seen, scene.Edit(moved=(1, 0.5, -0.25)), size) - slots
    assert np.argwhere(np.abs(moved) > 1e-6).tolist() == [[0, 1, slots.shape[2] - 4], [0, 1, slots.shape[2] - 3]]
    np.testing.assert_allclose(moved[0, 1, -4:-2], (0.5, -0.25), atol=1e-6)
    swapped = scene.edited(seen, scene.Edit(swapped=(0, other, 2)), size)
    np.testing.assert_array_equal(swapped[0, 0], np.asarray(other.out.slots)[0, 2])
    np.testing.assert_array_equal(swapped[0, 1:], slots[0, 1:])
    for edit in (scene.Edit([1]), scene.Edit(moved=(0, 0.5, 0)), scene.Edit(swapped=(0, other, 1))):
        assert (table.rebuilt(seen, edit) != table.rebuilt(seen, scene.Edit())).any()
    assert not table.rebuilt(seen, scene.Edit([0, 1, 2])).any()


def test_what_cannot_be_shown_is_named(table, tmp_path):
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(UserError, match="is no picture"):
        table.read(tmp_path / "text.png")
    Image.fromarray(np.zeros((20, 3000, 3), np.uint8)).save(tmp_path / "wide.png")
    assert table.read(tmp_path / "wide.png").shape == (7, 1024, 3)
    taken = server.listening(0)
    with taken, pytest.raises(UserError, match=r"--port \d+: cannot be used \(Address already in use\); give another"):
        taken.listen()
        server.listening(taken.getsockname()[1])
    assert taken.family.name == "AF_INET"


def test_only_models_that_redraw_pictures_are_shown(monkeypatch):
    video = Trained(build_model(config_of("video:tiny").model), {}, 0.0)
    monkeypatch.setattr(scene, "open_trained", lambda *source: video)
    with pytest.raises(UserError, match="video: sees videos, or draws features; give a model that redraws pictures"):
        scene.Table(None, "video")


def test_mistakes_on_the_command_line(run):
    for flags, message in (
        (["--weights", "quick", "--workdir", "runs/x"], "--workdir and --weights: give one of the two"),
        (["--port", "99999"], "--port: must be a whole number from 0 to 65535"),
    ):
        with pytest.raises(UserError, match=message):
            run(demo, *flags)


@pytest.fixture
def url(workdir, tmp_path):
    """Of the demo, as a user starts it."""
    pytest.importorskip("gradio", reason="gradio is not installed: pip install slotjax[demo]")
    command = [sys.executable, "-m", "slotjax.demo", "--workdir", str(workdir), "--port", "0"]
    (tmp_path / "temporary").mkdir()
    places = {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "temporary")}
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"} | places
    with open(tmp_path / "err", "w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
    try:
        said = process.stdout.readline()
        assert said.startswith("open http://127.0.0.1:"), (tmp_path / "err").read_text()
        yield said.split()[1]
        assert (tmp_path / "err").read_text() == ""
    finally:
        process.terminate()
        assert process.wait(30) == 0  # and what was dropped in is gone
        process.stdout.close()
        assert not list((tmp_path / "temporary").glob("slotjax-demo-*"))


OFFLINE = ("unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "offline")


def reaches_others() -> bool:
    """Whether there is a way to any other machine; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address that is kept for documentation
        except OSError:
            return False
    return True


def can_switch_off() -> bool:
    try:
        return subprocess.run([*OFFLINE, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_the_page_in_a_browser(request):
    """With the network switched off, where this machine can: server and browser have the loopback interface alone."""
    if not reaches_others() or not can_switch_off():
        check_page(*(request.getfixturevalue(name) for name in ("url", "chromium", "tmp_path")))
        return
    pytest.importorskip("gradio", reason="gradio is not installed: pip install slotjax[demo]")
    command = [*OFFLINE, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "slow"]
    again = f"{__file__}::{request.node.name}"
    result = subprocess.run([*command, again], cwd=ROOT, capture_output=True, text=True)
    if "1 skipped" in result.stdout:
        pytest.skip("no Chromium with its driver: apt-get install chromium chromium-driver")
    assert result.returncode == 0 and "1 passed" in result.stdout, result.stdout + result.stderr


def check_page(url, chromium, tmp_path):
    """Every control does what it says; nothing is asked of any host but this one, on a desktop and on a phone."""
    from selenium.webdriver import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(chromium, 300)  # a busy machine compiles for minutes

    def sources() -> list[str]:
        """Of the picture, its segments, and what is decoded anew."""
        ids = ["picture", "segments", "rebuilt"]
        script = "return arguments[0].map((id) => document.querySelector(`#${id} img`)?.src ?? '')"
        return chromium.execute_script(script, ids)

    def slots(gallery: str, count: int) -> None:
        """Waits until so many slots are shown there."""
        wait.until(lambda b: len(b.find_elements("css selector", f"#{gallery} img")) == count)

    def changed(before: list[str], *which: int) -> list[str]:
        """Waits until these pictures, and no others, are new ones."""
        new = lambda: [i for i, (a, b) in enumerate(zip(before, sources(), strict=True)) if a != b]  # noqa: E731
        wait.until(lambda _: new() == list(which))
        return sources()

    def labelled(kind: str, label: str):
        return chromium.find_element("xpath", f"//input[@type='{kind}' and contains(@aria-label, '{label}')]")

    def choose(label: str, value: str) -> None:
        box = chromium.find_element("xpath", f"//input[@role='combobox' and @aria-label='{label}']")
        box.click()
        box.send_keys(value, Keys.ENTER)

    chromium.get_log("performance"), chromium.get_log("browser")
    chromium.get(url)
    wait.until(lambda _: all(sources()))
    now = sources()
    slots("slots", 7)
    chromium.find_element("xpath", "//label[contains(., 'slot 0')]//input[@type='checkbox']").click()
    now = changed(now, 2)
    choose("Move", "slot 1")
    labelled("range", "down").send_keys(Keys.ARROW_RIGHT)
    now = changed(now, 2)
    labelled("range", "Sigma").send_keys(Keys.ARROW_RIGHT)
    chromium.find_element("xpath", "//button[contains(., 'aside')]").click()
    slots("aside", 7)
    now = sources()
    chromium.find_element("xpath", "//button[contains(., 'Random scene')]").click()
    now = changed(now, 0, 1, 2)
    choose("Swap this slot", "slot 2")
    choose("for that one of the picture put aside", "slot 3")
    now = changed(now, 2)
    labelled("range", "Slots").send_keys(Keys.ARROW_LEFT)
    slots("slots", 6)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)).save(tmp_path / "mine.png")
    now = sources()
    chromium.find_element("css selector", "input[type=file]").send_keys(str(tmp_path / "mine.png"))
    changed(now, 0, 1, 2)
    for width in (1280, 390):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    assert not [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    asked |= {m["params"]["url"] for m in messages if m["method"] == "Network.webSocketCreated"}
    assert asked and all(one.startswith((url, "data:", "blob:")) for one in asked)
    answers = [m["params"]["response"] for m in messages if m["method"] == "Network.responseReceived"]
    policy = [one["headers"].get("content-security-policy", "") for one in answers if one["url"] == url]
    assert policy and all("default-src 'self'" in one for one in policy)  # so that none could be
