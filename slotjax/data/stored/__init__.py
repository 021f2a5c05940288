"""Stored data sets, one file a format."""

STORED = {
    "clevr_tfds": "",
    "clevr_with_masks": "",
    "tetrominoes_tfrecords": "",
    "multi_dsprites_tfrecords": "",
    "objects_room_tfrecords": "",
    "folder": "",
}
