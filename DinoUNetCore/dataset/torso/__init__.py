"""The phantom's patient, organ by organ, as strokes to paint."""
