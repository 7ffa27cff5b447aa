"""Inference: a volume in, a label map on its grid out, slice by slice."""
