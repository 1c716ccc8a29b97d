"""The Ray programs: tensorize, train, tune, evaluate, predict."""
