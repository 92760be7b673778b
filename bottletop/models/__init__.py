"""What is trained: tops, networks from scratch, fine-tuned backbones."""
