"""What is the same about VGG16's features whatever computes them."""

POOLED_BLOCKS = (3, 4, 5)
MEANS_BGR = (103.939, 116.779, 123.68)  # of ImageNet, as VGG16 was trained
