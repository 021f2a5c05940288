"""Where pictures come from: scenes rendered on the device, and stored data sets. Nothing is imported until it is used."""
