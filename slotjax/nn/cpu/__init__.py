"""Forms of convolutions and dense layers that XLA's CPU compiler is fast at, each beside its plain form."""
