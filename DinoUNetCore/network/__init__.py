"""The Dino U-Net network: one file per box of the paper's figure (arXiv 2508.20909). Tensors, no files."""
