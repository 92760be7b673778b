"""Models and their training: tops, networks from scratch, fine-tuned backbones."""
