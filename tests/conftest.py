"""Four fake CPU devices for every test, and the data the tests read."""

import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before anything imports jax; benchmarks/gpu.py has another
os.environ["JAX_NUM_CPU_DEVICES"] = "4"
# Compiling is most of what the tests do: without LLVM's optimizations it takes a fraction of the time.
FLAGS = ["--xla_backend_optimization_level=0", "--xla_cpu_parallel_codegen_split_count=1"]
if version("jaxlib").startswith("0.10."):  # the older emitter of loops takes half of it; later ones have it no more
    FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *FLAGS])
# What one test, worker or subprocess has compiled serves the others, and the next run.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(2**30))  # this also makes it take a lock
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

# The same examples in every run: what is found at random belongs to `benchmarks/fuzz.py`.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")

pytest.register_assert_rewrite("bounds", "report_pages")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The small extracts that the repository carries."""
    return Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The whole test data, from the environment variable SLOTJAX_TEST_DATA; without it the test is skipped."""
    folder = os.environ.get("SLOTJAX_TEST_DATA")
    if not folder:
        pytest.skip("SLOTJAX_TEST_DATA does not name the folder with the whole test data")
    return Path(folder).resolve(strict=True)


@pytest.fixture
def cache_home(tmp_path, monkeypatch) -> Path:
    """A user's cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def scored() -> dict:
    """What the report of `reported` found, for the tests that look inside."""
    return {}


@pytest.fixture(scope="session")
def reported(tmp_path_factory, scored) -> Path:
    """A run as if stopped after its first evaluation, with its report; tests change only copies of it.

    The parameters are untrained: compiling a training step would take longer than all tests of the report.
    """
    from helpers import untrained
    from report_pages import written

    from slotjax.config import disk
    from slotjax.report import report
    from slotjax.reporting import scoring

    folder = tmp_path_factory.mktemp("runs") / "quick"
    written(folder, 0, [0.25])
    untrained(disk.load(folder / "config.json"), folder, step=10)
    original = scoring.score
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "score", lambda *arguments: scored.setdefault("scores", original(*arguments)))
        report([folder])
    return folder


@pytest.fixture
def run(monkeypatch, capsys):
    """`run(module, *arguments)`: what a command says, in this process."""

    def call(module, *arguments) -> str:
        monkeypatch.setattr(sys, "argv", ["slotjax", *map(str, arguments)])
        capsys.readouterr()
        module.main()
        return capsys.readouterr().out

    return call


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """The workdir of `quick.py:tiny`, trained as a user does, in a place of an odd name."""
    from helpers import command

    folder = tmp_path_factory.mktemp("my runs") / "quick:x:"
    result = command("train.py", "--config", "configs/quick.py:tiny", "--workdir", folder)
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    (folder / "said.txt").write_text(result.stdout)
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """Three pictures that would like to be called the same, and a folder within."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("photos")
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    for name in ("photo.png", "photo.jpg", "photo_2.png", "more/Other.PNG"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def poison(monkeypatch):
    """`poison(place)`: from then on the fifth training batch holds a number that is none at `place` of its images."""

    def spoil(place: tuple) -> None:
        import jax
        import numpy as np

        from slotjax.training.feed import SceneFeed

        batches = SceneFeed.train_batches

        def spoiled(self, parallel, start_step, *tell):
            for step, batch in enumerate(batches(self, parallel, start_step, *tell), start_step + 1):
                if step == 5:
                    image = np.array(batch["image"])
                    image[place] = np.nan
                    batch = batch | {"image": jax.device_put(image, batch["image"].sharding)}
                yield batch

        monkeypatch.setattr(SceneFeed, "train_batches", spoiled)

    return spoil


@pytest.fixture
def as_commands_do(monkeypatch):
    """Benchmarks import each other as scripts in one folder do; their signal handlers do not outlive a test."""
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent.parent / "benchmarks"), *sys.path])
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def chromium():
    """Headless Chromium, as Debian's packages chromium and chromium-driver install it."""
    import shutil

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


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Nine pictures of noise, in a folder of their own."""
    import numpy as np
    from PIL import Image

    folder, rng = tmp_path / "pictures", np.random.default_rng(0)
    folder.mkdir()
    for i in range(9):
        Image.fromarray(rng.integers(0, 255, (40, 48, 3), np.uint8)).save(folder / f"{i}.png")
    return folder
