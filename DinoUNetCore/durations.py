"""How long something takes, in words that are as exact as an estimate deserves."""


def in_words(seconds: float) -> str:
    """"40 seconds", "12 minutes" or "2 h 05 min"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{minutes} minutes" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
