"""Where parameters come from and where they go: public backbones, the authors' checkpoints, bundles."""
