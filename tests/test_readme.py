"""The library in ten lines, as README prints it, runs on every packaged model of pictures."""

import re

import pytest
from helpers import ROOT, weights_for_pictures

README = (ROOT / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", weights_for_pictures())
def test_the_ten_lines_run_on_every_packaged_model(name):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert example.count('"quick"') == 1
    values: dict = {}
    exec(example.replace('"quick"', f'"{name}"'), values)
    model = values["model"]
    assert values["out"].masks.shape == (8, model.attention.num_slots, *model.resolution)
    assert ((values["miou"] > 0) & (values["miou"] <= 1)).all()
    assert values["without_one"].shape == values["scenes"].image.shape


def test_the_readme_fits_on_a_page():
    assert len(README.splitlines()) <= 100
