"""The backbones, their weights, and the engines that compute them."""
