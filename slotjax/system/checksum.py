"""The checksum that TensorFlow's files carry."""


def masked_crc32c(data: bytes) -> int:
    """CRC32C, rotated and offset as TFRecord files and checkpoints hold it."""
    import google_crc32c

    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
