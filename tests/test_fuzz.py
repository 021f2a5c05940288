"""Files of unknown origin: read, or refused in one line, and never at a cost that their size does not explain.

The properties run briefly here, longer with `-m slow`; `benchmarks/fuzz.py` searches on with a coverage-guided fuzzer.
Files made to do harm are in `test_untrusted_*.py`.
"""

import json
import sys

import fuzz_targets as targets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

SEEDS = {name: seeds() for name, (_, seeds) in targets.TARGETS.items()}


def at_two_lengths(short: int, long: int):
    """A property as a test of `short` examples, the same each time, and as a slow one, `..._at_length`, of `long`."""

    def tests(check):
        def test(data):
            check(data)

        def slow(data):
            check(data)

        test.__name__ = test.__qualname__ = check.__name__
        slow.__name__ = slow.__qualname__ = f"{check.__name__}_at_length"
        slow = settings(max_examples=long, deadline=None)(given(data=st.data())(slow))
        setattr(sys.modules[__name__], f"{check.__name__}_at_length", pytest.mark.slow(slow))
        return settings(max_examples=short, deadline=None, derandomize=True)(given(data=st.data())(test))

    return tests


def mutated(data, content: bytes) -> bytes:
    """Some bytes changed, a piece taken from elsewhere or repeated, the end cut off."""
    content = bytearray(content)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["bit", "byte", "number", "piece", "gone"]))
        if kind == "bit":
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "byte":
            content[at] = data.draw(st.integers(0, 255))
        elif kind == "number":
            size = data.draw(st.sampled_from([2, 4, 8]))
            value = data.draw(st.sampled_from([0, 1, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]))
            order = data.draw(st.sampled_from(["little", "big"]))
            content[at : at + size] = (value % 2 ** (8 * size)).to_bytes(size, order)
        elif kind == "piece":
            start = data.draw(st.integers(0, len(content) - 1))
            content[at:at] = content[start : start + data.draw(st.integers(1, 64))]
        else:
            del content[at : at + data.draw(st.integers(1, 16))]
        content = content or bytearray(b"\0")
    return bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)


@at_two_lengths(60, 3000)
def test_tfrecords_of_any_kind(data):
    seed = data.draw(st.sampled_from(SEEDS["tfrecords"]))
    targets.fuzz_tfrecords(seed[:1] + mutated(data, seed[1:]))


@at_two_lengths(40, 3000)
def test_pictures_of_any_kind(data):
    seed = data.draw(st.sampled_from(SEEDS["pictures"]))
    targets.TARGETS["pictures"][0](mutated(data, seed))


@at_two_lengths(30, 1500)
def test_weights_of_any_kind(data):
    seed = data.draw(st.sampled_from(SEEDS["weights"]))
    targets.fuzz_weights(seed[:1] + mutated(data, seed[1:]))


@at_two_lengths(60, 3000)
def test_checkpoints_of_any_kind(data):
    seed = data.draw(st.sampled_from(SEEDS["checkpoints"]))
    targets.fuzz_checkpoints(seed[:1] + mutated(data, seed[1:]))


@at_two_lengths(60, 3000)
def test_movi_of_any_kind(data):
    seed = data.draw(st.sampled_from(SEEDS["movi"]))
    targets.fuzz_movi(seed[:1] + mutated(data, seed[1:]))


@at_two_lengths(40, 2000)
def test_videos_of_any_kind(data):
    seed = data.draw(st.sampled_from(SEEDS["videos"]))
    targets.TARGETS["videos"][0](mutated(data, seed))


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**63 - 1, -(2**63), 2**64, 10**30, 10**400, 1e308, 0.5, -0.0]),
    st.sampled_from([float("nan"), float("inf"), float("-inf")]),
    st.text(max_size=5),
    st.sampled_from(
        ["object_discovery", "set_prediction", "clevr", "folder", "learned", "mlp", "\ud800", "a\nb", "\x1b[2J"]
    ),
    st.lists(st.integers(-1, 70_000), max_size=6),
    st.dictionaries(st.sampled_from(["name", "items", "__class__", "a.b", "\n", "hidden"]), st.integers(), max_size=2),
)


def places(tree, at=()) -> list[tuple]:
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [at] * bool(at) + [place for name, value in inner for place in places(value, (*at, name))]


@at_two_lengths(25, 1000)
def test_configs_of_any_kind(data):
    config = json.loads(data.draw(st.sampled_from(SEEDS["config"])))
    for _ in range(data.draw(st.integers(1, 3))):
        *parents, name = data.draw(st.sampled_from(places(config)))
        branch = config
        for parent in parents:
            branch = branch[parent]
        if data.draw(st.integers(0, 4)):
            branch[name] = data.draw(ODD)
        else:
            del branch[name]
        if not config:
            break
    targets.fuzz_config(json.dumps(config).encode())


@at_two_lengths(25, 3000)
def test_configs_of_any_bytes(data):
    targets.fuzz_config(mutated(data, data.draw(st.sampled_from(SEEDS["config"]))))
