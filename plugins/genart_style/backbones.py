"""The backbones that this plugin brings; imported from here, their code belongs to the plugin's identity."""

from genart.nn.vgg import vgg16_torchvision, vgg19, vgg19_torchvision

__all__ = ["vgg16_torchvision", "vgg19", "vgg19_torchvision"]
