"""Dino U-Net: medical image segmentation, slice by slice, on a frozen DINOv3 backbone (arXiv 2508.20909)."""
