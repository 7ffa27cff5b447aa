"""Labelled cases: where they lie, what they look like, how to train on them."""
