"""Train a model of slots: see `slotjax/train.py`."""

try:
    from slotjax import cli
except ModuleNotFoundError as error:  # the usual first mistake: another Python than the one that it was installed for
    raise SystemExit(f"error: {error}; run `pip install -e .` first, with the Python that runs this") from None


def main() -> None:
    from slotjax.train import main

    main()


if __name__ == "__main__":
    cli.run(main, large_pages=True)
