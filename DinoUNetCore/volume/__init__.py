"""Images in space: reading, canonical slices, intensities, label maps and writing them."""
