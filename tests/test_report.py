"""The report: what it shows of a run, what it says is missing, and how it compares several."""

import base64
import importlib
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from slotjax import configuration
from slotjax.errors import UserError
from slotjax.models import Output, build_model
from slotjax.report import default_output, report, report_after_training
from slotjax.reporting import explorer, figures, gallery, groups, judge, pixels, record
from slotjax.tasks import discovery
from slotjax.training.checkpoint import Checkpoints
from slotjax.training.run import initial_state

MAX_BYTES = 5_000_000


def tiny():
    return importlib.import_module("configs.quick").get_config("tiny")


@pytest.fixture(scope="module")
def judged():
    """What the shared report judged, for the tests that look inside."""
    return {}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, judged):
    """A run that every test shares, as if stopped after its first evaluation, and its report.

    The parameters are untrained: compiling a training step would take longer than all of these tests.
    """
    folder = tmp_path_factory.mktemp("runs") / "quick"
    written(folder, 0, [0.25])
    config = configuration.load(folder / "config.json")
    checkpoints = Checkpoints(folder)
    checkpoints.save(10, initial_state(config, build_model(config.model)))
    checkpoints.wait()
    checkpoints.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "judge", lambda *arguments: judged.setdefault("judgement", original(*arguments)))
        report([folder])
    return folder


original = judge.judge


def copy(workdir: Path, folder: Path, *without: str) -> Path:
    shutil.copytree(workdir, folder, ignore=shutil.ignore_patterns("report.html", *without))
    return folder


def text(path: Path) -> str:
    return path.read_text("utf-8")


def embedded(html: str) -> dict:
    """What the page's script reads."""
    found = re.search(r'<script type="application/json" id="pictures">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found.group(1))


def decode(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


class Page(HTMLParser):
    """Where a page points to, and whether its tags close."""

    VOID = ("meta", "link", "img", "input", "br", "path", "use")

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.targets: list[str] = []
        self.ids: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.targets += [values[name] for name in ("src", "href", "xlink:href", "srcset", "action") if values.get(name)]
        self.ids += [values["id"]] if "id" in values else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def check_page(html: str) -> Page:
    page = Page(html)
    assert not page.open
    assert all(target.startswith(("#", "data:")) for target in page.targets)
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest", html)
    assert len(html.encode()) < MAX_BYTES
    assert all(f'id="{target[1:]}"' in html for target in page.targets if target.startswith("#"))
    return page


def test_page_is_whole_and_needs_no_network(workdir):
    html = text(workdir / "report.html")
    page = check_page(html)
    assert not [name for name in page.ids if page.ids.count(name) > 1 and not name.startswith(("m", "p", "h", "D"))]
    for shown in ("Training loss", "FG-ARI", "ARI", "foreground mIoU", "MSE", "Images per second"):
        assert f"<strong>{shown}</strong>" in html
    for shown in ("k-means on colour", "soft k-means on colour", "train.learning_rate", "Best FG-ARI", "Worst FG-ARI"):
        assert shown in html
    assert html.count('role="img" aria-label="') >= 10  # every drawing in words


def test_explorer_holds_what_the_model_saw(workdir):
    data = embedded(text(workdir / "report.html"))
    settings, examples = data["settings"], data["examples"]
    assert (settings["slots"], settings["iterations"], settings["size"]) == (5, 3, [32, 32])
    assert len({example["index"] for example in examples}) == len(examples) == 6  # of eight images, two in each group
    rows, columns = settings["grid"]
    for example in examples:
        attention = decode(example["attention"]).reshape(3, rows, 5, columns, -1)[..., 0]
        assert np.abs(attention.astype(int).sum(2) - 255).max() <= 5  # slots compete for each pixel
        masks = decode(example["masks"]).reshape(32, 5, 32, -1)[..., 0].transpose(1, 0, 2)
        owner = decode(example["owner"])
        owner = owner if owner.ndim == 2 else owner[..., 0]
        winners = np.take_along_axis(masks, owner[None].astype(np.int64), 0)[0]
        assert np.all(winners.astype(int) >= masks.max(0).astype(int) - 1)
        assert len(example["claims"]) == 5


def test_all_methods_are_judged_on_the_same_images(workdir, judged):
    judgement = judged["judgement"]
    assert list(judgement.scores) == ["slots", "kmeans", "soft_kmeans"]
    assert {len(scores["ari"]) for scores in judgement.scores.values()} == {8}
    assert judgement.figures == ["fg_ari", "ari", "miou", "mse"]
    for method, summary in judgement.summaries.items():
        assert f"{figures.shown(summary['fg_ari'], 4)}</td>" in text(workdir / "report.html"), method


def test_without_checkpoint_or_metrics(workdir, tmp_path, capsys):
    no_checkpoint = copy(workdir, tmp_path / "a", "checkpoints", "best")
    html = text(report([no_checkpoint]))
    check_page(html)
    assert "no checkpoint yet" in html and "Training loss" in html and "explorer-title" not in html
    assert "no checkpoint yet" in capsys.readouterr().out

    neither = copy(no_checkpoint, tmp_path / "b", "metrics.jsonl")
    with pytest.raises(UserError, match="neither metrics nor a checkpoint"):
        report([neither])
    assert not (neither / "report.html").exists()


def test_images_without_masks_and_no_metrics(workdir, tmp_path, capsys):
    """The same model on a folder of pictures: MSE ranks them, and the page says so."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(5):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (40, 60, 3), np.uint8)).save(folder / f"{i}.png")
    plain = copy(workdir, tmp_path / "plain", "metrics.jsonl")
    config = tiny()
    config.data.update(name="folder", path=str(folder), eval_images=4, options={})
    configuration.save(config, plain / "config.json")
    html = text(report([plain]))
    check_page(html)
    said = capsys.readouterr().out
    for note in ("no masks: no FG-ARI, ARI or mIoU", "No metrics.jsonl: no curves"):
        assert note in html and note in said
    assert "Best MSE" in html and "lower is better" in html and "k-means" not in html
    assert "truth" not in embedded(html)["examples"][0]

    shutil.rmtree(folder)
    html = text(report([plain]))  # the pictures are gone
    assert "does not exist" in html and "explorer-title" not in html


def test_half_written_line_and_hostile_names(workdir, tmp_path):
    odd = copy(workdir, tmp_path / "<b>$x_1$&", "checkpoints", "best")
    with (odd / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "loss": NaN}\n{"step": 8, "lo')
    config = json.loads(text(odd / "config.json"))
    config["data"]["path"] = "</script><script>alert(1)</script>"
    (odd / "config.json").write_text(json.dumps(config))
    html = text(report([odd]))
    check_page(html)
    assert "1 line of metrics.jsonl could not be read" in html
    assert "The loss was not finite at 1 logged step" in html
    assert "<b>$x" not in html and "alert(1)</script>" not in html


def test_mistakes_are_one_line(workdir, tmp_path):
    broken = copy(workdir, tmp_path / "broken", "checkpoints")
    (broken / "metrics.jsonl").write_bytes(b"\xff\xfe\x00")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text('{"a": 1}')
    cases = {
        "no such directory": [tmp_path / "none"],
        "given twice": [workdir, workdir / ".." / workdir.name],
        "cannot be read": [broken],
        "not the config of a run": [foreign],
        "no such file; is ": [tmp_path],
    }
    for message, workdirs in cases.items():
        with pytest.raises(UserError, match=message) as error:
            report(workdirs)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="is a directory"):
        report([workdir], tmp_path)


def test_a_failing_report_does_not_fail_the_run(tmp_path, capsys):
    report_after_training(tmp_path / "none")
    said = capsys.readouterr().out
    assert "the report was not written" in said and "python -m slotjax.report --workdir" in said


# Comparison: runs written by hand, since it reads nothing but what runs wrote down.


def written(folder: Path, seed: int, finals: list[float], **fields) -> Path:
    """A run whose FG-ARI took these values, an evaluation every 10 steps."""
    folder.mkdir(parents=True)
    config = tiny()
    config.seed, config.train.num_steps, config.train.eval_every = seed, 10 * len(finals), 10
    config.model.update(fields)
    configuration.save(config, folder / "config.json")
    rows = []
    for i, value in enumerate(finals, 1):
        rows.append({"step": 10 * i, "loss": 1 / i, "images_per_second": 100.0, "time": 60.0 * i})
        rows.append({"step": 10 * i, "fg_ari": value, "ari": 0.5, "miou": 0.5, "mse": 0.1, "num_images": 8})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_comparison_of_seeds(tmp_path, capsys):
    ends = [0.95, 0.93, 0.6]
    runs = [written(tmp_path / "runs" / f"seed_{i}", i, [0.1, end]) for i, end in enumerate(ends)]
    with (runs[2] / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3')
    path = report(runs)
    assert path == tmp_path / "runs" / "comparison.html"
    html = text(path)
    check_page(html)
    assert "1 of 3" in html and "FG-ARI below 0.9" in html
    assert f"{np.mean(ends):.3f} ± {np.std(ends, ddof=1):.3f}" in html
    assert "0.930 (0.600 to 0.950)" in html
    assert "seed_2: 1 line of metrics.jsonl" in html and "seed_2: 1 line" in capsys.readouterr().out
    assert html.count("failed</span>") == 1
    assert "2 of 3" in text(report(runs, failed_below=0.94))


def test_comparison_of_settings_and_unfinished_runs(tmp_path):
    runs = [written(tmp_path / "a" / f"{s}_{k}", s, [0.2, 0.9 + k / 100], num_slots=k) for k in (4, 6) for s in (0, 1)]
    never = written(tmp_path / "b" / "never", 2, [0.1, 0.1], num_slots=6)
    (never / "metrics.jsonl").write_text('{"step": 5, "loss": 0.4}\n')
    html = text(report([*runs, never], tmp_path / "new" / "page.html"))
    check_page(html)
    assert "model.num_slots = 4" in html and "model.num_slots = 6" in html
    assert "0 of 2" in html and "1 of 3" in html and "Not evaluated yet" in html and "a/0_4" in html
    read = [record.read(run) for run in runs]
    assert [one.members for one in groups.group(read)] == [[0, 1], [2, 3]]
    steps, values = groups.common_curve([[(1, 0.5), (2, 0.7)], [(2, 0.9), (3, 1.0)]])
    assert steps == [2] and values.tolist() == [[0.7], [0.9]]


# In a browser.


@pytest.fixture(scope="module")
def chromium():
    """Headless Chromium, as Debian's packages chromium and chromium-driver install it."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install selenium")
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no Chromium with its driver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for switch in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        "disable-background-networking",
    ):
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


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


def test_explorer_with_the_mouse(workdir, chromium, tmp_path):
    from selenium.webdriver import ActionChains

    visit(chromium, workdir / "report.html")
    plain = canvas(chromium, "input")
    slots = find(chromium, ".slot")
    assert len(slots) == 5
    ActionChains(chromium).scroll_to_element(slots[1]).move_to_element(slots[1]).perform()
    lit = canvas(chromium, "input")
    assert find(chromium, "#input")[0].get_attribute("data-lit") == "2"
    assert find(chromium, "#status")[0].text.startswith("Slot 2 wins")
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
    assert find(chromium, "#iteration-shown")[0].text == "1 of 3"
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


def test_explorer_with_the_keyboard(workdir, chromium):
    from selenium.webdriver import ActionChains, Keys

    def press(*keys):
        ActionChains(chromium).send_keys(*keys).perform()

    def lit():
        return find(chromium, "#input")[0].get_attribute("data-lit")

    visit(chromium, workdir / "report.html")
    chromium.execute_script("document.querySelector('#iteration').focus()")
    press(Keys.ARROW_LEFT)
    assert find(chromium, "#iteration-shown")[0].text == "2 of 3"
    press(Keys.TAB, Keys.TAB)
    assert lit() == "2"
    press(Keys.ENTER, Keys.TAB, Keys.TAB)
    assert find(chromium, ".slot")[1].get_attribute("aria-pressed") == "true"
    assert lit() == "4"  # where the focus is
    chromium.execute_script("document.activeElement.blur()")
    assert lit() == "2"  # the kept one
    press(Keys.ESCAPE)
    assert lit() == "" and not find(chromium, ".slot[aria-pressed=true]")
    chromium.execute_script("document.querySelectorAll('.thumb')[1].focus()")
    press(Keys.SPACE)
    assert find(chromium, ".thumb")[1].get_attribute("aria-pressed") == "true"


def test_light_dark_phone_and_no_network(workdir, chromium, tmp_path):
    runs = [written(tmp_path / f"seed_{i}", i, [0.1, end]) for i, end in enumerate((0.95, 0.6))]
    chromium.get_log("performance"), chromium.get_log("browser")
    backgrounds = {}
    for page in (workdir / "report.html", report(runs)):
        for width, scheme in ((1200, "light"), (1200, "dark"), (360, "light")):
            visit(chromium, page, width, scheme)
            assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
            style = "return getComputedStyle(document.body).backgroundColor"
            backgrounds[scheme] = chromium.execute_script(style)
    assert backgrounds["light"] != backgrounds["dark"]
    assert not chromium.get_log("browser")  # no error, no warning
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert asked and all(url.startswith(("file:", "data:")) for url in asked)


# Pieces.


def test_best_median_and_worst():
    values = np.array([0.3, np.nan, 0.9, 0.1, 0.5, 0.7, 0.2, 0.8, 0.4, 0.6])
    assert gallery.pick(values, True, 3) == {"best": [2, 7, 5], "median": [9, 4, 8], "worst": [0, 6, 3]}
    assert gallery.pick(values, False, 1) == {"best": [3], "median": [4], "worst": [2]}
    assert gallery.pick(np.array([0.5]), True, 3) == {"best": [0]}
    assert gallery.pick(np.array([0.5, 0.6]), True, 3) == {"best": [1], "worst": [0]}
    assert gallery.pick(np.array([np.nan]), True, 3) == {}


@pytest.mark.parametrize(("side", "num_slots", "num_iterations"), [(128, 7, 3), (200, 16, 4)])
def test_large_pictures_stay_within_the_budget(monkeypatch, side, num_slots, num_iterations):
    """Noise does not compress: the worst case."""
    monkeypatch.setattr(pixels, "QUALITY", 30)  # faster; the budget is lowered alike
    monkeypatch.setattr(explorer, "BUDGET", 600_000)
    random = np.random.default_rng(0)
    grid = (side // 4, side // 4)
    count = 9
    masks = random.dirichlet(np.ones(num_slots), (1, side, side)).astype(np.float32).transpose(0, 3, 1, 2)
    attention = random.dirichlet(np.ones(num_slots), (1, num_iterations, grid[0] * grid[1])).transpose(0, 1, 3, 2)
    components = random.uniform(-1, 1, (1, num_slots, side, side, 3)).astype(np.float32)
    one = Output(
        masks=masks, components=components, reconstruction=components[:, 0], attention_history=attention.astype("f")
    )
    out = Output(**{k: None if v is None else np.broadcast_to(v, (count, *v.shape[1:])) for k, v in vars(one).items()})
    batch = {"image": np.broadcast_to(components[0, 0], (count, side, side, 3))}
    judged = judge.Judgement({"slots": {"mse": np.arange(count) / count}}, {"slots": {"mse": 0.5}})
    model = SimpleNamespace(resolution=(side, side), encoder=SimpleNamespace(grid=lambda _: grid))
    run = SimpleNamespace(task=discovery)
    chosen, built = explorer.fit(run, SimpleNamespace(model=model), judged, gallery.choose(judged).indices, batch, out)
    assert built.size <= explorer.BUDGET
    assert built.settings["size"][0] <= 128
    assert chosen.groups["best"][0] == 0


def test_a_task_with_other_figures():
    scores = {"ap_inf": np.array([0.1, 0.4]), "ap_1": np.array([np.nan, np.nan]), "num_objects": np.array([1.0, 2.0])}
    judged = judge.Judgement({"slots": scores}, {"slots": {"ap_inf": 0.25}})
    assert judged.figures == ["ap_inf"]
    assert gallery.choose(judged, 1).groups == {"best": [1], "worst": [0]}
    task = SimpleNamespace(TITLES={"ap_inf": "AP"})
    assert figures.title("ap_inf", task) == "AP" and figures.title("ap_inf") == "ap inf"


def test_regions_in_words():
    truth = np.zeros((10, 10), int)
    truth[:5, :4] = 1
    assert explorer.describe(truth == 1, truth) == "wins 20% of the pixels; nearest to object 1 (IoU 1.00)"
    assert explorer.describe(truth == 0, truth).endswith("nearest to the background (IoU 1.00)")
    assert explorer.describe(truth == 0, None) == "wins 80% of the pixels"
    assert explorer.describe(truth > 1, truth) == "wins no pixel"


def test_figures_for_people():
    values = {0.9431: "0.943", -0.25: "-0.250", 0: "0.000", 3.2e-5: "3e-05", 12.345: "12.3", 1240.4: "1240"}
    assert {value: figures.shown(value) for value in values} == values
    assert {figures.shown(value) for value in (None, float("nan"), "x", True)} == {"–"}


def test_default_output():
    assert default_output([Path("runs/a")]) == Path("runs/a/report.html")
    assert default_output([Path("runs/a"), Path("runs/b")]) == Path("runs/comparison.html")
    assert default_output([Path("runs/a"), Path("other/b")]) == Path("comparison.html")


@pytest.mark.slow
def test_a_report_of_set_prediction_draws_what_is_predicted(tmp_path):
    config = importlib.import_module("configs.clevr_set").get_config("tiny")
    config.data.options.max_objects = 3
    folder = tmp_path / "set"
    folder.mkdir()
    configuration.save(config, folder / "config.json")
    checkpoints = Checkpoints(folder)
    checkpoints.save(10, initial_state(config, build_model(config.model)))
    checkpoints.close()
    html = text(report([folder]))
    check_page(html)
    shown = json.loads(re.search(r'<script type="application/json" id="pictures">(.*?)</script>', html, re.S)[1])
    for example in shown["examples"]:
        true, predicted = (decode(example[name]) for name in ("truth", "predicted"))
        assert true.shape == predicted.shape == (256, 256, 3)
        assert (true != predicted).any()
    assert 'id="predicted"' in html
