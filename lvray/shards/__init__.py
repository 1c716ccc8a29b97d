"""Tensors at rest (Parquet shards and their manifest) and in motion (the order and the stream)."""
