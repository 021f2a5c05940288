"""COCO, PASCAL VOC and ClevrTex from folders as people have them, and the metrics of that literature."""

import json
import shutil
import sys

import numpy as np
import pytest
from helpers import config_of, tiny
from ml_collections import ConfigDict
from PIL import Image

from slotjax import metrics
from slotjax.config.check import validate
from slotjax.data.pictures import read_rgb
from slotjax.data.stored import Key, open_stored
from slotjax.data.stored.coco import Instances
from slotjax.data.stored.photographs import VOID, View, view_of
from slotjax.data.stored.voc import read_indices
from slotjax.drawing.slots import colour_segments
from slotjax.errors import UserError
from slotjax.tasks.discovery import MOST_CLASSES, class_scores
from slotjax.training.feed import open_feed


@pytest.fixture
def coco(shared_data):
    pytest.importorskip("pycocotools")
    return shared_data / "coco_sample"


@pytest.fixture
def voc(shared_data):
    return shared_data / "voc_sample"


def opened(name, path, split="eval", size=(32, 32), **more):
    return open_stored(ConfigDict({"name": name, "path": str(path), **more}), size, split)


def test_masks_of_coco_are_those_of_pycocotools(coco):
    truth, instances = np.load(coco / "truth.npz"), Instances(coco / "annotations" / "instances_val2017.json")
    for i, number in enumerate(truth["image_ids"]):
        own = truth[f"{number}/masks"][(truth[f"{number}/iscrowd"] == 0)]
        own = own[own.any((1, 2))] if len(own) else own
        labels = instances.labels(i)
        overlap = truth[f"{number}/overlap"]
        np.testing.assert_array_equal(labels["segments"] == VOID, overlap)
        for j, mask in enumerate(own, 1):
            np.testing.assert_array_equal(labels["segments"] == j, mask & ~overlap)
        classes = np.where(overlap, 0, truth[f"{number}/class_mask"])
        kinds = np.array([0, 1, 3, 7, 18, 44, 62, 90])
        np.testing.assert_array_equal(kinds[np.maximum(labels["classes"], 0)], classes)


def test_pictures_of_coco_are_upright_and_of_their_colours(coco):
    truth = np.load(coco / "truth.npz")
    held_out, rest = (opened("coco", coco, split, eval_images=11) for split in ("eval", "train"))
    for number, path in zip(truth["image_ids"], [*held_out.paths, *rest.paths], strict=True):
        assert path.name == f"{number:012}.jpg"
        rows = np.array_split(np.asarray(read_rgb(path)[0], np.float32), 8)
        blocks = np.array([[part.mean((0, 1)) for part in np.array_split(row, 8, 1)] for row in rows])
        np.testing.assert_allclose(blocks, truth[f"{number}/thumbnail"], atol=0.51)


@pytest.mark.parametrize("kind", ["coco", "voc"])
def test_metrics_are_those_of_the_literature(shared_data, kind):
    """At full size, to 1e-6: overlaps and void left out, crowds dropped, pictures without an instance not counted."""
    if kind == "coco":
        pytest.importorskip("pycocotools")
        folder = shared_data / "coco_sample"
        wanted, instances = np.load(folder / "mbo_truth.npz"), Instances(folder / "annotations/instances_val2017.json")
        names, suffix = np.load(folder / "truth.npz")["image_ids"], "/crowd_dropped"
        labels = [instances.labels(i) for i in range(len(names))]
    else:
        folder = shared_data / "voc_sample"
        wanted, suffix = np.load(folder / "truth.npz"), ""
        names, kinds = wanted["names"], {"segments": "SegmentationObject", "classes": "SegmentationClass"}
        labels = [{k: read_indices(folder / v / f"{n}.png") for k, v in kinds.items()} for n in names]
    for i, (name, truth) in enumerate(zip(names, labels, strict=True)):
        for j, prediction in enumerate(wanted["prediction_names"]):
            segments, classes = truth["segments"][None], truth["classes"][None]
            found = wanted[f"{name}/{prediction}"][None].astype(np.int32)
            counts = {"num_true": 128, "num_pred": 16}
            if not (segments > 0).any():
                assert np.isnan(wanted[f"mbo_i{suffix}"][i, j])
                continue
            ours = {
                "mbo_i": metrics.mean_best_overlap(segments, found, **counts),
                "miou_i": metrics.mean_iou(segments, found, num_true=16, num_pred=16),
                "fg_ari": metrics.adjusted_rand_index(segments, found, **counts, ignore_background=True),
                "mbo_c": metrics.mean_best_overlap(classes, found, **counts),
                "miou_c": metrics.mean_iou(classes, found, num_true=32, num_pred=16),
            }
            for metric, value in ours.items():
                np.testing.assert_allclose(
                    value[0], wanted[f"{metric}{suffix}"][i, j], atol=1e-6, err_msg=f"{name} {metric}"
                )


def test_localisation_agrees_with_boxes_by_hand():
    rng = np.random.default_rng(0)
    true, pred = rng.integers(-1, 3, (20, 6, 7)), rng.integers(0, 4, (20, 6, 7))
    true[0], pred[1] = 0, 3
    true[2], pred[2] = np.pad(np.ones((3, 3), int), ((1, 2), (2, 2))), np.pad(np.ones((2, 3), int), ((1, 3), (2, 2)))

    def box(mask):
        rows, columns = np.where(mask)
        return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1

    def overlap(a, b):
        shared = max(0, min(a[1], b[1]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[2], b[2]))
        return shared / ((a[1] - a[0]) * (a[3] - a[2]) + (b[1] - b[0]) * (b[3] - b[2]) - shared)

    wanted = []
    for one, other in zip(true, pred, strict=True):
        objects = [box(one == i) for i in (1, 2) if (one == i).any()]
        found = [box((other == i) & (one >= 0)) for i in range(4) if ((other == i) & (one >= 0)).any()]
        wanted.append(not objects or any(overlap(a, b) >= 0.5 for a in objects for b in found))
    ours = metrics.correct_localisation(true, pred, num_true=3, num_pred=4)
    np.testing.assert_array_equal(ours, np.array(wanted, np.float32))
    assert ours.mean() > 0 and metrics.correct_localisation(true[2:3], pred[2:3], num_true=3, num_pred=4)[0] == 1


def test_what_no_object_is_in_has_no_figures():
    truth = np.zeros((2, 4, 4), np.int32)
    truth[1, :2] = 1
    figures = class_scores(truth, truth * 7, (truth > 0).astype(np.int32), 3, 2)
    assert all(np.isnan(values[0]) and values[1] == 1 for values in figures.values())
    assert MOST_CLASSES > 91  # COCO's


@pytest.mark.parametrize("kind", ["coco", "voc"])
def test_examples_hold_what_a_batch_needs(shared_data, kind):
    if kind == "coco":
        pytest.importorskip("pycocotools")
    stored = opened(kind, shared_data / f"{kind}_sample", eval_images=2)
    example = stored[1]
    assert example["image"].shape == (32, 32, 3) and example["image"].dtype == np.float32
    assert example["segments"].shape == example["classes"].shape == (32, 32)
    np.testing.assert_array_equal(example["segments"] > 0, example["classes"] > 0)
    assert example["objects"]["present"].shape == (stored.max_objects,)
    assert set(stored[1, Key(0, 0)]) == {"image"} and len(stored) == 2
    assert (
        stored.fingerprint() != opened(kind, shared_data / f"{kind}_sample", size=(16, 16), eval_images=2).fingerprint()
    )


def test_voc_follows_its_lists(voc, tmp_path):
    names = {split: [path.stem for path in opened("voc", voc, split).paths] for split in ("train", "eval")}
    assert names["train"] == (voc / "ImageSets/Segmentation/train.txt").read_text().split() and len(names["eval"]) == 2
    shutil.copytree(voc, tmp_path / "VOCdevkit" / "VOC2012")
    lists = tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    (lists / "trainaug.txt").write_text("2026_000243\n")
    assert [path.stem for path in opened("voc", tmp_path, "train").paths] == ["2026_000243"]
    (lists / "val.txt").write_text("2026_000243 2026_999999")
    with pytest.raises(UserError, match=r"2026_999999.jpg and 2 more, which its lists name, is not there"):
        opened("voc", tmp_path)


def test_coco_takes_the_lists_that_are_there(coco, tmp_path):
    folder = tmp_path / "coco"
    (folder / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        shutil.copytree(coco / "val2017", folder / split)
        shutil.copy(coco / "annotations/instances_val2017.json", folder / "annotations" / f"instances_{split}.json")
    train, held_out = (opened("coco", folder, split, eval_images=3) for split in ("train", "eval"))
    assert (len(train), len(held_out)) == (12, 3) and {path.parent.name for path in train.paths} == {"train2017"}


def test_annotations_that_do_not_fit_are_refused_in_one_line(coco, voc, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"instances_missingfile.json lists pictures that are not there, .*3000.jpg"):
        opened("coco", coco / "annotations/instances_missingfile.json", "train", eval_images=2)
    content = json.loads((coco / "annotations/instances_val2017.json").read_text())
    folder = tmp_path / "coco"
    shutil.copytree(coco, folder)
    file = folder / "annotations/instances_val2017.json"
    for broken, said in (
        ({"images": 3}, "no list of COCO's instances"),
        ({k: v for k, v in content.items() if k != "annotations"}, "no 'annotations'"),
        (content | {"annotations": [{"image_id": 139, "category_id": 1}]}, "no 'segmentation'"),
        (content | {"annotations": [{"image_id": 139, "category_id": 5, "segmentation": []}]}, "no 5"),
        (content | {"images": []}, "lists no pictures"),
    ):
        file.write_text(json.dumps(broken))
        with pytest.raises(UserError, match=said) as caught:
            opened("coco", folder, eval_images=2)
        assert "\n" not in str(caught.value)
    for mask, said in (("?", "holds no mask"), ({"size": [2, 2], "counts": [4]}, "of another size")):
        file.write_text(
            json.dumps(content | {"annotations": [{"id": 9, "image_id": 139, "category_id": 1, "segmentation": mask}]})
        )
        with pytest.raises(UserError, match=f"annotation 9 {said}|annotation 9 is {said}"):
            opened("coco", folder, eval_images=2)[0]
    with pytest.raises(UserError, match="holds no annotations/instances_train"):
        opened("coco", voc)
    with pytest.raises(UserError, match="holds no ImageSets/Segmentation"):
        opened("voc", coco)
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(UserError, match=r'pycocotools is not installed; pip install "slotjax\[coco\]"'):
        opened("coco", coco, eval_images=2)[0]


def test_annotations_nested_beyond_reading_are_refused(tmp_path):
    (tmp_path / "instances.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="instances.json is no list of COCO's instances"):
        Instances(tmp_path / "instances.json")


def test_pictures_are_augmented_by_their_key_alone():
    view = View((10, 20), crop=True, augment="crop")
    places = [view.place((60, 60), Key(0, i)) for i in range(40)]
    assert places == [view.place((60, 60), Key(0, i)) for i in range(40)]
    boxes, mirrored = zip(*places, strict=True)
    assert 5 < sum(mirrored) < 35 and len(set(boxes)) > 20
    for left, top, right, bottom in boxes:
        assert (
            min(left, top) >= 0
            and max(right, bottom) <= 60.001
            and (right - left, bottom - top) == pytest.approx((60, 30))
        )
    assert View((10, 20), True, "flip").place((60, 60), Key(0, 0))[0] == (0, 15, 60, 45)


def test_what_cannot_be_augmented_is_refused():
    config = config_of("folder")
    config.data.update(augment="flip", path="x")
    with pytest.raises(UserError, match="data.augment=flip: is for coco and voc, not folder"):
        validate(config)
    with pytest.raises(UserError, match="data.augment='rotate': choose one of none, flip, crop"):
        view_of({"augment": "rotate"}, (8, 8))
    config = config_of("features:tiny")
    config.data.feature_cache = 1.0
    with pytest.raises(UserError, match="features are kept of pictures as they are"):
        validate(config)


def test_clevrtex_is_read_as_it_is_unpacked(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(20):
        folder = tmp_path / str(i // 10)
        folder.mkdir(exist_ok=True)
        name = f"CLEVRTEX_full_{i:06}"
        Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).save(folder / f"{name}.png")
        mask = np.zeros((24, 32), np.uint8)
        mask[8:12, 12:18] = 1 + i % 3
        Image.fromarray(mask).save(folder / f"{name}_flat.png")
        for other in ("albedo", "depth"):
            Image.fromarray(mask).save(folder / f"{name}_{other}.png")
    train, held_out = (opened("clevrtex", tmp_path, split, size=(24, 24)) for split in ("train", "eval"))
    assert (len(train), len(held_out)) == (16, 2)
    example = held_out[1]
    assert example["segments"].max() == 1 and example["objects"]["present"].sum() == 1
    # The middle 19.2 of 24 rows, enlarged to 24: an object of 4 by 6 pixels becomes 5 by 7.5.
    assert (example["segments"].any(1).sum(), example["segments"].any(0).sum()) in ((5, 7), (5, 8))
    with pytest.raises(UserError, match="data.max_objects=3: clevrtex is not counted; set it to 0"):
        opened("clevrtex", tmp_path, max_objects=3)
    next(tmp_path.rglob("*_flat.png")).unlink()
    with pytest.raises(UserError, match="_flat.png is not there"):
        opened("clevrtex", tmp_path)
    with pytest.raises(UserError, match="holds no CLEVRTEX"):
        opened("clevrtex", tmp_path / "nowhere")


def test_void_is_drawn_white():
    assert colour_segments(np.array([[-1, 0]]), background=True).tolist()[0][0] == [255, 255, 255]


def test_a_batch_of_coco_for_a_model_of_features(coco):
    config = tiny("features")
    config.data.path = str(coco)
    feed = open_feed(config)
    batch = next(feed.eval_batches())
    assert batch["classes"].shape == (8, 32, 32) and batch["segments"].min() >= -1
    assert feed.num_true == 9
